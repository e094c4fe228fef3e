"""Moments of a population: from the states of a sweep, where all its prompts are there anyway."""

from __future__ import annotations

import numpy as np
import pytest
from support.models import decoder, ragged_prompts, random_gpt_neox, random_prompts

from cntbench.ablations.ablation import Ablation
from cntbench.ablations.measures import relative_l2
from cntbench.ablations.replacements import mean, resample
from cntbench.engine import influence as engine
from cntbench.engine.request import Request

TWIN = Ablation("twin", resample.Parameters(donor="reference"), relative_l2.measure)


@pytest.fixture
def passes(monkeypatch):
    """The populations that were run by themselves, in order."""
    populations, spread = [], engine.spread

    def noted(model, prompts, corpus, at_once):
        populations.append(corpus)
        return spread(model, prompts, corpus, at_once)

    monkeypatch.setattr(engine, "spread", noted)
    return populations


def request(population, over, **changes):
    """Mean ablation beside that by the twin, whose prompts run beside the clean ones."""
    rule = mean.Parameters(population=population, over=over)
    model = decoder(random_gpt_neox())
    ablations = [Ablation("mean", rule, relative_l2.measure), TWIN]
    prompts = random_prompts(count=5, length=6, scored=3)
    return Request(**{"model": model, "prompts": prompts, "ablations": ablations} | changes)


@pytest.mark.parametrize("population", ["clean", "reference"])
@pytest.mark.parametrize("over", [("prompt",), ("prompt", "position")])
def test_a_sweep_s_own_states_give_the_numbers_of_a_pass(population, over, passes, monkeypatch):
    engine_request = request(population, over)
    result = engine.influence(engine_request)
    assert passes == []
    monkeypatch.setattr(engine, "_populations_apart", lambda request: request.populations)
    expected = engine.influence(engine_request)
    assert passes == [population]
    np.testing.assert_array_equal(result.influence, expected.influence)
    np.testing.assert_array_equal(result.readout_effect, expected.readout_effect)


def test_prompts_that_do_not_run_all_at_once_are_run_before(passes):
    result = engine.influence(request("clean", ("prompt",), memory_budget=1))
    assert passes == ["clean"]
    together = engine.influence(request("clean", ("prompt",)))
    np.testing.assert_allclose(result.influence, together.influence, rtol=1e-5)


DIRECT = Ablation("direct", TWIN.replacement, relative_l2.measure, scope="direct")


@pytest.mark.parametrize(
    "changes",
    [
        {"ablations": [*request("clean", ("prompt",)).ablations, DIRECT]},
        {"prompts": random_prompts(count=12, length=6), "until_se": 1e6},
        {"prompts": ragged_prompts(count=5)},
        {"prompts": random_prompts(count=5, length=6).take(np.array([0, 1, 2, 3, 4, 0]))},
    ],
    ids=["direct effects", "some of the prompts", "several lengths", "a repeated prompt"],
)
def test_a_sweep_that_does_not_have_each_prompt_once_leaves_its_moments_to_a_pass(changes, passes):
    engine.influence(request("clean", ("prompt",), **changes))
    assert passes == ["clean"]


def test_a_population_that_no_ablation_draws_from_is_run_before(passes):
    engine_request = request("reference", ("prompt",))
    engine.influence(request("reference", ("prompt",), ablations=engine_request.ablations[:1]))
    assert passes == ["reference"]
