"""Optimal constants against plain transformers: losses, gradients, and the optimum itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import decoder, random_gpt_neox, random_prompts
from support.oracle import Oracle

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import optimal_constant
from cntbench.engine import optimal_constants as optimal
from cntbench.engine.influence import influence
from cntbench.engine.optimal_constants import Losses, fit, optimal_constants
from cntbench.engine.request import Request
from cntbench.errors import CntbenchError, CntbenchWarning
from cntbench.models.adapters import gpt_neox
from cntbench.models.precision import in_double

#: Few steps do not converge, and are enough for what is not about the optimum.
pytestmark = pytest.mark.filterwarnings("ignore:the optimal constants")
FITTED = Ablation("fitted", optimal_constant.Parameters(steps=4), relative_l2.measure)
SHAPE = {"layers": 2, "heads": 2, "width": 4, "mlp": 12}


def case(seed=0, **shape):
    model = random_gpt_neox(**{**SHAPE, **shape}, seed=seed, dtype=torch.float64)
    return model, random_prompts(count=3, seed=seed)


def by_node(oracle, losses, steps):
    """Constants fitted on all prompts; heads are narrower than MLPs."""
    points = fit(losses, steps).points
    widths = [oracle.width if head is not None else points.shape[1] for _, head in oracle.nodes]
    return {
        node: row[:width] for node, row, width in zip(oracle.nodes, points, widths, strict=True)
    }


def losses_of(model, prompts, budget=2**30, sources=None):
    return Losses(in_double(decoder(model)), prompts, budget, sources)


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
    values = torch.cat([losses.of(group, constants[group]) for group in groups])
    some = torch.tensor([i for i in sources.tolist() if i % 2])
    for i, node in enumerate(oracle.nodes):
        width = oracle.width if node[1] is not None else constants.shape[1]
        assert values[i].item() == pytest.approx(
            oracle.loss(prompts, node, constants[i, :width]), rel=1e-9
        )
    torch.testing.assert_close(losses.of(some, constants[some]), values[some], rtol=1e-12, atol=0)


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
def test_the_optimum_is_stationary_in_the_plain_model(parallel, monkeypatch):
    model, prompts = case(3, parallel=parallel)
    oracle = Oracle(model)
    monkeypatch.setattr(optimal, "SHARE", -1.0)
    constants = by_node(oracle, losses_of(model, prompts), 300)
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
    constants = by_node(oracle, losses_of(model, prompts), 20)
    _, clean = oracle.run(prompts.tokens[0])
    torch.testing.assert_close(constants[0, None], clean[0, None][0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_made_in_inference_mode_can_be_fitted(dtype):
    model = random_gpt_neox(**SHAPE, dtype=dtype)
    plain = optimal_constants(decoder(model), random_prompts(), steps=3).blocks
    with torch.inference_mode():
        tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        view = gpt_neox.decoder(model.config, tensors)
        fitted = optimal_constants(view, random_prompts(), steps=3).blocks
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
        optimal_constants(decoder(model), prompts, steps=8, memory_budget=budget).blocks
        for budget in (1, 2**30)
    )
    for one, other in zip(little, much, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_the_fit_converges_to_what_a_long_one_finds(monkeypatch):
    """All but a hundredth of what a long fit gains over the mean or zero, in a share of its steps.

    Ten steps, which were all there were, leave a tenth of it.
    """
    model, prompts = case(3, layers=3, mlp=24)
    losses, every = losses_of(model, prompts), torch.arange(9)
    calls = []
    monkeypatch.setattr(Losses, "with_gradient", counted(Losses.with_gradient, calls))
    start = losses.of(every, fit(losses, 0).points)
    constants = fit(losses, 300)
    steps = len(calls)
    monkeypatch.setattr(optimal, "SHARE", -1.0)
    best = losses.of(every, fit(losses, 2000).points)
    assert constants.solved.all()
    assert steps < 150
    left = (losses.of(every, constants.points) - best).sum() / (start - best).sum()
    few = (losses.of(every, fit(losses, 10).points) - best).sum() / (start - best).sum()
    assert left < 0.01 < few


def counted(method, calls):
    def count(self, sources, constants):
        calls.append(len(sources))
        return method(self, sources, constants)

    return count


def test_no_prompt_has_a_constant_that_was_fitted_on_it():
    model = random_gpt_neox(**SHAPE, dtype=torch.float64)
    prompts = random_prompts(count=5)
    crossed = optimal_constants(decoder(model), prompts, steps=4)
    order = np.array([3, 0, 4, 1, 2])
    given = torch.cat(
        [crossed.of(number, prompts.take(order))[:, 0, :, :4] for number in (0, 2)], 1
    )
    for place, row in enumerate(order):
        known = prompts.take(np.arange(1 - row % 2, 5, 2))
        expected = fit(losses_of(model, known), 4).points
        heads = expected[[0, 1, 3, 4], :4]
        torch.testing.assert_close(given[place], heads, rtol=0, atol=0)
    again = optimal_constants(decoder(model), prompts.take(order), steps=4)
    torch.testing.assert_close(again.of(1, prompts), crossed.of(1, prompts), rtol=1e-9, atol=1e-12)


def test_only_chosen_components_are_fitted(monkeypatch):
    calls = []
    monkeypatch.setattr(Losses, "with_gradient", counted(Losses.with_gradient, calls))
    model, prompts = case(2, layers=3)
    every = optimal_constants(decoder(model), prompts, steps=4)
    calls.clear()
    some = optimal_constants(decoder(model), prompts, steps=4, sources=[1, 5])
    assert max(calls) == 2
    torch.testing.assert_close(some.blocks[0][:, 1], every.blocks[0][:, 1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(some.blocks[3], every.blocks[3], rtol=1e-9, atol=1e-12)
    assert not some.blocks[0][:, 0].any()
    result = influence(
        Request(decoder(model), prompts, [FITTED], sources=[1, 5], effects=("cross_entropy",))
    )
    whole = influence(Request(decoder(model), prompts, [FITTED], effects=("cross_entropy",)))
    np.testing.assert_allclose(
        result.influence[0, [1, 5]], whole.influence[0, [1, 5]], rtol=1e-7, atol=1e-9
    )


@pytest.mark.filterwarnings("default:the optimal constants")
def test_a_fit_that_has_not_converged_is_told():
    model, prompts = case(3)
    with pytest.warns(CntbenchWarning, match=r"optimal constants of L0.* converged in 2 steps"):
        optimal_constants(decoder(model), prompts, steps=2)
    with pytest.raises(CntbenchError, match="'fitted' needs at least 2 prompts"):
        influence(Request(decoder(model), prompts.take(slice(1)), [FITTED]))
