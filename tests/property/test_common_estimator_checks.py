"""Common checks of every estimator, shipped or in a folder under test, on small random models.

An estimator is checked by its file; nothing is to be registered here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.ablations import measures
from support.models import decoder, random_model, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.replacements import noise, zero
from cntbench.components import feasible
from cntbench.engine.influence import influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.testing import under_test

EVERY = pytest.mark.parametrize("name", sorted(under_test("estimator")))
ARCHITECTURES = ("gpt_neox", "gpt2", "llama")
PROMPTS = random_prompts(count=3, length=6, scored=2)


def methods(name: str, rule=None) -> list[Ablation]:
    """An ablation for everything that the estimator observes."""
    file = under_test("estimator")[name].module
    steps = 2 if "steps" in file.USES else None
    given = {"estimator": name, "steps": steps}
    rule = zero.Parameters() if rule is None else rule
    results = []
    if "readout" in file.OBSERVES:
        results.append(Ablation("a", rule, None, "direct", "readout", **given))
    if "target" in file.OBSERVES:
        measure = measures()["relative_l2"].measure
        results += [Ablation("a", rule, measure, scope, **given) for scope in ("total", "direct")]
    return results


def measured(name, model, *, prompts=PROMPTS, rule=None, **options) -> list[np.ndarray]:
    """Effects of all edges, prompt by prompt, dims ``source, target, prompt``."""
    results = []
    for method in methods(name, rule):
        request = Request(model, prompts, [method], keep=("prompts",), **options)
        by_prompt = influence(request).kept
        kind = "edge_effect" if method.observable == "readout" else "influence"
        results.append(by_prompt[f"{kind}_by_prompt"][0])
    return results


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request):
    """A random decoder in double precision."""
    return decoder(random_model(request.param, layers=2, dtype=torch.float64))


@pytest.fixture(scope="module")
def parallel_model():
    """One of them, whose MLPs read the heads beside them."""
    return decoder(random_model("gpt2", layers=2, dtype=torch.float64))


@EVERY
def test_what_is_declared(name):
    file = under_test("estimator")[name].module
    assert {*file.OBSERVES} <= {"readout", "target"}
    assert file.OBSERVES
    assert {*file.USES} <= {"gradient", "reference", "steps", "through", "contributions"}


@EVERY
def test_effects_on_the_readout_have_both_signs_unless_it_says_that_they_have_none(name, model):
    """``SIGNED = False`` stands in the file of shares and sizes: circuits rank edges by sign."""
    file = under_test("estimator")[name].module
    if "readout" in file.OBSERVES:
        effects, *_ = measured(name, model)
        assert (effects < 0).any() == getattr(file, "SIGNED", True)


@EVERY
def test_every_feasible_edge_and_no_other_has_a_number(name, model):
    edge = feasible(model.components)
    for result in measured(name, model):
        assert np.isfinite(result[edge]).all()
        assert np.isnan(result[~edge]).all()
        assert np.ptp(result[edge]) > 0, "it tells edges apart"


@EVERY
def test_the_order_and_the_number_of_prompts_do_not_matter(name, parallel_model):
    order = [2, 0, 1]
    for first, again in zip(
        measured(name, parallel_model),
        measured(name, parallel_model, prompts=PROMPTS.take(order), memory_budget=1),
        strict=True,
    ):
        np.testing.assert_allclose(again, first[..., order], rtol=1e-7, atol=1e-10)


@EVERY
def test_some_sources_and_targets_are_those_of_all(name, model):
    sources, targets = (1, 3), (2, 4, 5)
    rest = np.ones(2 * [len(model.components)], dtype=bool)
    rest[np.ix_(sources, targets)] = False
    chosen = measured(name, model, sources=sources, targets=targets)
    for whole, some in zip(measured(name, model), chosen, strict=True):
        np.testing.assert_allclose(some[~rest], whole[~rest], rtol=1e-7, atol=1e-10)
        assert np.isnan(some[rest]).all()


@EVERY
def test_the_same_input_gives_the_same_bits(name, parallel_model):
    for first, again in zip(
        measured(name, parallel_model), measured(name, parallel_model), strict=True
    ):
        np.testing.assert_array_equal(first, again)


@EVERY
def test_a_change_of_nothing_has_no_effect(name, parallel_model):
    if "contributions" in under_test("estimator")[name].module.USES:
        return  # nothing is changed
    rule = noise.Parameters(scale=0.0, population="clean")
    edge = feasible(parallel_model.components)
    for result in measured(name, parallel_model, rule=rule):
        assert (abs(result[edge]) < 1e-9).all()


@EVERY
def test_its_work_can_be_counted_and_grows_with_the_prompts(name, parallel_model):
    for method in methods(name):
        request = Request(parallel_model, PROMPTS, [method])
        few = predicted_work(replace(request, prompts=PROMPTS.take([0])))
        assert predicted_work(request).flops == 3 * few.flops > 0
