"""Affine maps: the fused operator and the public ones do the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models import decoder, random_gpt_neox, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import zero
from cntbench.engine.influence import influence
from cntbench.engine.request import Request
from cntbench.models import products
from cntbench.models.products import GELU, GELU_TANH, RELU, SILU, affine, fused_is_available

ACTIVATIONS = {"none": None, "gelu": GELU, "gelu_tanh": GELU_TANH, "relu": RELU, "silu": SILU}
each_activation = pytest.mark.parametrize("name", ACTIVATIONS)


@pytest.fixture
def without_fused(monkeypatch):
    """Torch without the operator."""

    class Nothing:
        """A namespace that has no operator."""

    monkeypatch.setattr(torch.ops, "mkldnn", Nothing())
    fused_is_available.cache_clear()
    yield
    monkeypatch.undo()
    fused_is_available.cache_clear()


def exact(rows, weight, bias, activation):
    mapped = rows.double() @ weight.double().mT + bias.double()
    return activation(mapped) if activation else mapped


def given_sizes(seed, *shape, out):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(*shape, generator=generator)
    return (
        rows,
        torch.randn(out, shape[-1], generator=generator),
        torch.randn(out, generator=generator),
    )


@each_activation
@given(
    runs=st.integers(1, 3),
    positions=st.integers(0, 70),
    hidden=st.integers(1, 40),
    out=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_it_is_the_affine_map_and_then_the_activation(name, runs, positions, hidden, out, seed):
    given = given_sizes(seed, runs, positions, hidden, out=out)
    with torch.inference_mode():
        product = affine(*given, ACTIVATIONS[name])
    expected = exact(*given, ACTIVATIONS[name])
    assert product.shape == (runs, positions, out)
    torch.testing.assert_close(product.double(), expected, rtol=1e-5, atol=2e-5)


@each_activation
def test_maps_of_some_rows_or_turned_weights_are_taken(name):
    rows, weight, bias = given_sizes(0, 2, 9, 8, out=12)
    activation = ACTIVATIONS[name]
    with torch.inference_mode():
        product = affine(rows, weight[3:7], bias[3:7], activation)
        turned = affine(rows, weight.mT.contiguous().mT, bias, activation)
    expected = exact(rows, weight, bias, activation)
    torch.testing.assert_close(product.double(), expected[..., 3:7], rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(turned.double(), expected, rtol=1e-5, atol=2e-5)


@each_activation
def test_a_row_is_rounded_alike_wherever_it_stands(name):
    # Replacing a component by its own output changes exactly nothing because of this.
    rows, weight, bias = given_sizes(1, 1, 64, 48, out=96)
    many = rows.expand(7, -1, -1).contiguous()
    with torch.inference_mode():
        product = affine(many, weight, bias, ACTIVATIONS[name])
    for run in product[1:]:
        assert torch.equal(run, product[0])


@each_activation
def test_the_public_operators_do_where_there_is_no_other(name, without_fused):
    assert not fused_is_available()
    given = given_sizes(2, 3, 5, 16, out=8)
    with torch.inference_mode():
        product = affine(*given, ACTIVATIONS[name])
    expected = exact(*given, ACTIVATIONS[name])
    torch.testing.assert_close(product.double(), expected, rtol=1e-5, atol=2e-5)


def test_an_operator_that_takes_other_arguments_is_not_used(monkeypatch):
    class Changed:
        """What a later torch may have in its place."""

        @staticmethod
        def _linear_pointwise(rows, weight):
            return rows @ weight.mT

    monkeypatch.setattr(torch.ops, "mkldnn", Changed())
    fused_is_available.cache_clear()
    assert not fused_is_available()
    monkeypatch.undo()
    fused_is_available.cache_clear()


def test_the_fused_operator_is_used_where_it_applies(monkeypatch):
    used = []
    fused = products._fused
    monkeypatch.setattr(products, "_fused", lambda *given: used.append(given) or fused(*given))
    rows, weight, bias = given_sizes(3, 4, 4, out=4)
    with torch.inference_mode():
        affine(rows, weight, bias)
    assert bool(used) is fused_is_available()
    used.clear()
    affine(rows, weight, bias)
    with torch.inference_mode():
        affine(rows.double(), weight.double(), bias.double())
    assert not used


@each_activation
def test_gradients_pass(name):
    rows, weight, bias = given_sizes(4, 3, 6, out=5)
    rows.requires_grad_()
    affine(rows, weight, bias, ACTIVATIONS[name]).sum().backward()
    assert rows.grad is not None
    again = rows.detach().requires_grad_()
    exact(again, weight, bias, ACTIVATIONS[name]).sum().backward()
    torch.testing.assert_close(rows.grad, again.grad, rtol=1e-4, atol=1e-5)


def test_the_engine_gives_the_same_without_the_fused_operator(request):
    model, prompts = decoder(random_gpt_neox()), random_prompts()
    ablations = [Ablation("zero", zero.Parameters(), relative_l2.measure)]
    effects = ("logit_difference", "cross_entropy")
    first = influence(Request(model, prompts, ablations, effects=effects))
    request.getfixturevalue("without_fused")
    second = influence(Request(model, prompts, ablations, effects=effects))
    np.testing.assert_allclose(second.influence, first.influence, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second.readout_effect, first.readout_effect, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.readout_value, first.readout_value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 5, 100])
def test_a_lasting_weight_gives_the_same_bits(count):
    rows, weight, bias = torch.randn(100, 24), torch.randn(40, 24), torch.randn(40)
    with torch.inference_mode():
        expected = affine(rows[:count], weight, bias, GELU)
        for _ in range(2):  # arranged, and taken from those that are
            product = affine(rows[:count], weight, bias, GELU, lasting=True)
            torch.testing.assert_close(product, expected)
            # oneDNN of earlier versions adds in another order.
            assert torch.equal(product, expected) or torch.__version__ < "2.12"
        part = affine(rows[:count], weight[:20], bias[:20], GELU, lasting=True)
    torch.testing.assert_close(part, expected[:, :20])
