"""Stability over resamples of prompts: against plain loops, and where the answer is known."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cntbench.analysis.recovery import Recovery, auroc
from cntbench.comparison.stability import (
    RESAMPLES,
    circuit_overlap,
    resampled,
    score_intervals,
    settled_at,
)
from cntbench.comparison.trained import Cell, depends_on_others
from cntbench.runs.catalogue import load_catalogue
from cntbench.runs.known_circuits import planted_plan

#: Circuits of each kind; docs/compare.md says of how many its figures are.
FILMS = int(os.environ.get("CNTBENCH_FILMS", "30"))
EDGES = np.triu(np.ones((6, 6), dtype=bool), 1)


def by_prompt(noise, prompts=16, seed=0):
    """Influence of edges that differ, with noise of a size on every prompt."""
    rng = np.random.default_rng(seed)
    weights = np.where(EDGES, rng.permutation(36).reshape(6, 6), np.nan)
    return weights[..., None] + noise * rng.standard_normal((6, 6, prompts))


def test_a_resample_is_a_mean_of_prompts_that_are_drawn_with_replacement():
    values = by_prompt(0.5)
    draws = resampled(values, 16, 500, seed=3)
    assert draws.shape == (500, 6, 6)
    np.testing.assert_allclose(draws.mean(axis=0)[EDGES], values.mean(-1)[EDGES], atol=0.1)
    expected = values.std(-1)[EDGES] / 4
    np.testing.assert_allclose(draws.std(axis=0)[EDGES], expected, rtol=0.25)


def test_circuits_agree_without_noise_and_settle_later_with_more():
    numbers = [2, 4, 8, 16]
    assert circuit_overlap(by_prompt(0.0), 2) == 1
    settled = [
        settled_at(numbers, np.array([circuit_overlap(by_prompt(noise), n) for n in numbers]))
        for noise in (0.0, 2.0, 50.0)
    ]
    assert settled[0] == 2
    assert settled[0] < settled[1] <= 16
    assert np.isnan(settled[2])
    assert settled_at(numbers, np.array([0.9, 0.3, 0.9, 0.9])) == 8


def test_intervals_of_scores_hold_the_score_of_every_resample():
    """Of two models of a circuit, each with resamples of its own; tiny values are no influence."""
    truth = EDGES & (np.random.default_rng(1).random(EDGES.shape) < 0.4)
    values = np.where(EDGES, truth * 1.0, np.nan)[..., None] + by_prompt(0.0) * 0
    noise = np.random.default_rng(2).standard_normal((2, *values.shape))
    values = (values + noise) * np.where(np.arange(6) != 4, 1, 1e-9)[:, None]
    made = [
        Recovery("dag", "realistic", n, "a", abs(of.mean(-1)), truth, EDGES, by_prompt=of)
        for n, of in enumerate(values)
    ]
    made.append(Recovery("dag", "realistic", 0, "b", abs(values[0].mean(-1)), truth, EDGES))
    ends = score_intervals(made, ["truth_direct", "truth_total", ""], ["a", "b"])
    feasible = np.where(EDGES, 1.0, np.nan)
    each = [
        [auroc(np.where(d < 1e-6, 0, d) * feasible, truth) for d in abs(draws)]
        for draws in (resampled(of, 16, RESAMPLES, n) for n, of in enumerate(values))
    ]
    expected = np.quantile(np.mean(each, axis=0), [0.025, 0.975])
    np.testing.assert_allclose(ends[:, 0, 0], expected, atol=1e-12)
    assert np.isnan(ends[:, 1:]).all()  # every edge is in the total truth
    assert np.isnan(ends[:, :, 1]).all()


@pytest.mark.parametrize(
    ("prompts", "least", "most"), [(4, 0.2, 0.9), (8, 0.5, 0.95), (32, 0.8, 1.0)]
)
@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_resamples_of_few_prompts_are_no_confidence_interval(noise, prompts, least, most):
    """Noise makes scores of resamples smaller; ``docs/compare.md`` gives the coverage."""
    rng, edges = np.random.default_rng(0), np.triu(np.ones((11, 11), dtype=bool), 1)
    held = []
    for _ in range(FILMS):
        truth = edges & (rng.random(edges.shape) < 0.3)
        size = np.where(edges, rng.exponential(1 + 2 * truth), np.nan)
        values = size[..., None] + noise * rng.standard_normal((*edges.shape, prompts))
        made = Recovery("dag", "realistic", 0, "a", size, truth, edges, by_prompt=values)
        low, high = score_intervals([made], ["truth_direct"], ["a"]).squeeze()
        held.append(low <= auroc(size, truth) <= high)
    print(f"{prompts} prompts, noise {noise}: {np.mean(held):.2f}")
    assert least <= np.mean(held) <= most


def test_a_circuit_with_one_model_counts_as_much_as_one_with_three():
    truth = EDGES & (np.random.default_rng(1).random(EDGES.shape) < 0.4)
    right, blind = (np.where(EDGES, scores, np.nan) for scores in (truth, 1.0))
    models = [("dag", "realistic", seed, right) for seed in range(3)]
    made = [
        Recovery(*name, "a", scores, truth, EDGES, truth, scores[..., None])
        for *name, scores in [*models, ("taught", "trained", 0, blind)]
    ]
    ends = score_intervals(made, ["truth_readout"], ["a"])
    np.testing.assert_allclose(ends.squeeze(), 0.75)  # as the mean of the scores, 1 and 0.5


@pytest.mark.parametrize("name", ["zero", "resample_direct", "resample_readout", "resample_eap"])
def test_halves_of_prompts_are_had_from_all_prompts_where_prompts_do_not_matter(name):
    catalogue = load_catalogue()
    (known,) = catalogue.known_circuits(["chain"])
    entry = catalogue.ablations[name]
    plan = planted_plan(catalogue.study("compare"), [entry], known)
    cell = Cell(known.circuit.decoder("realistic"), plan.tasks[0], plan.prompts[0], 0)
    matrix, values = cell.measure_prompts(entry.method)
    whole = values.mean(axis=-1)
    np.testing.assert_allclose(abs(whole) if "direct" not in name else whole, matrix, atol=1e-7)
    assert not depends_on_others(entry.method)
    again = [cell.measure(entry.method, cell.prompts.take(slice(i, None, 2))) for i in (0, 1)]
    for start, half in enumerate(again):
        mean = values[..., start::2].mean(axis=-1)
        np.testing.assert_allclose(abs(mean), half, atol=1e-6)
    assert depends_on_others(catalogue.ablations["mean"].method)
    assert depends_on_others(catalogue.ablations["resample_other"].method)
