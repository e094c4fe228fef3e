"""Optimal constants against plain transformers: losses, gradients, and the optimum itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import decoder, random_gpt_neox, random_prompts
from support.oracle import Oracle

from cntbench.engine.optimal_constants import Losses, optimal_constants
from cntbench.models.adapters import gpt_neox
from cntbench.models.precision import in_double

SHAPE = {"layers": 2, "heads": 2, "width": 4, "mlp": 12}


def case(seed=0, **shape):
    model = random_gpt_neox(**{**SHAPE, **shape}, seed=seed, dtype=torch.float64)
    return model, random_prompts(count=3, seed=seed)


def by_node(oracle, fitted):
    return dict(zip(oracle.nodes, (row for block in fitted for row in block), strict=True))


def drawn(model, seed=0):
    """A random constant for each component, padded to the width of an MLP."""
    view = decoder(model)
    generator = torch.Generator().manual_seed(seed)
    shape = (len(view.components), view.hidden)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@settings(max_examples=8)
@given(st.booleans(), st.integers(1, 3), st.integers(0, 99), st.sampled_from([1, 60_000, 2**30]))
def test_losses_are_those_of_the_plain_model(parallel, layers, seed, budget):
    model, prompts = case(seed, parallel=parallel, layers=layers)
    oracle, constants = Oracle(model), drawn(model)
    losses = Losses(decoder(model), prompts, budget)
    sources = torch.arange(len(constants))
    groups = map(torch.tensor, losses.groups)
    found = torch.cat([losses.of(group, constants[group]) for group in groups])
    some = torch.tensor([i for i in sources.tolist() if i % 2])
    for i, node in enumerate(oracle.nodes):
        width = oracle.width if node[1] is not None else constants.shape[1]
        assert found[i].item() == pytest.approx(
            oracle.loss(prompts, node, constants[i, :width]), rel=1e-9
        )
    torch.testing.assert_close(losses.of(some, constants[some]), found[some], rtol=1e-12, atol=0)


@settings(max_examples=6)
@given(st.booleans(), st.integers(0, 99), st.data())
def test_gradients_are_finite_differences_of_the_losses(parallel, seed, data):
    model, prompts = case(seed, parallel=parallel, layers=3)
    constants = drawn(model)
    sources = torch.arange(len(constants))
    losses = Losses(decoder(model), prompts, data.draw(st.sampled_from([1, 2**30])))
    value, gradient = losses.with_gradient(sources, constants)
    torch.testing.assert_close(value, losses.of(sources, constants), rtol=1e-12, atol=0)
    direction = drawn(model, seed=1)
    step = 1e-5
    ahead, behind = (losses.of(sources, constants + s * step * direction) for s in (1, -1))
    slope = (ahead - behind) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(-1), slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("parallel", [True, False])
def test_the_optimum_is_stationary_in_the_plain_model(parallel):
    model, prompts = case(3, parallel=parallel)
    oracle = Oracle(model)
    constants = by_node(oracle, optimal_constants(decoder(model), prompts, steps=300))
    clean = [oracle.run(row)[1] for row in prompts.tokens]
    generator = torch.Generator().manual_seed(0)
    for node, constant in constants.items():
        population = torch.cat([states[node] for states in clean])
        unit = (population - population.mean(dim=0)).square().mean().sqrt()
        best = oracle.loss(prompts, node, constant)
        for _ in range(4):
            direction = torch.randn(constant.shape, generator=generator, dtype=torch.float64)
            step = 1e-3 * unit * direction / direction.norm()
            around = [oracle.loss(prompts, node, constant + s * step) for s in (1, -1)]
            assert abs(around[0] - around[1]) / 2e-3 < 3e-5, "a slope in nats per deviation"
        assert best <= oracle.loss(prompts, node, population.mean(dim=0)) - 1e-6
        assert best <= oracle.loss(prompts, node, torch.zeros_like(constant))


def test_a_component_that_never_varies_is_its_own_constant():
    model, prompts = case(1)
    with torch.no_grad():
        model.gpt_neox.layers[0].mlp.dense_h_to_4h.weight.zero_()
    oracle = Oracle(model)
    constants = by_node(oracle, optimal_constants(decoder(model), prompts, steps=20))
    _, clean = oracle.run(prompts.tokens[0])
    torch.testing.assert_close(constants[0, None], clean[0, None][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_made_in_inference_mode_can_be_fitted(dtype):
    model = random_gpt_neox(**SHAPE, dtype=dtype)
    plain = optimal_constants(decoder(model), random_prompts(), steps=3)
    with torch.inference_mode():
        tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        view = gpt_neox.decoder(model.config, tensors)
        fitted = optimal_constants(view, random_prompts(), steps=3)
    for one, other in zip(fitted, plain, strict=True):
        assert one.dtype == torch.float64
        assert not one.requires_grad
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_copy_in_double_precision_shares_nothing_and_computes_the_same():
    view = decoder(random_gpt_neox(**SHAPE, dtype=torch.float64))
    exact = in_double(view)
    assert exact.unembed.weight.data_ptr() != view.unembed.weight.data_ptr()
    tokens = torch.from_numpy(random_prompts().tokens)
    for one, other in zip(view.stages, exact.stages, strict=True):
        stream = view.embed(tokens)[None]
        assert torch.equal(stream, exact.embed(tokens)[None])
        for block, copied in zip(one.blocks, other.blocks, strict=True):
            assert torch.equal(block.states(stream), copied.states(stream))
    single = in_double(decoder(random_gpt_neox(**SHAPE)))
    assert single.dtype == torch.float64
    assert single.embed(tokens).dtype == torch.float64


def test_numbers_do_not_depend_on_the_memory():
    model, prompts = case(2, layers=3)
    little, much = (
        optimal_constants(decoder(model), prompts, steps=8, memory_budget=budget)
        for budget in (1, 2**30)
    )
    for one, other in zip(little, much, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
