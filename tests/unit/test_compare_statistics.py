"""Statistics of the comparison, against scipy, scikit-learn, naive loops and closed forms."""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import jaccard_score

from cntbench.analysis.intervals import film_interval, jackknife_interval, t_interval
from cntbench.comparison.agreement import (
    STATISTICS,
    agreement,
    film_agreement,
    rank_correlation,
    rank_correlations,
    relative_to_layers,
    split_half,
    strengths,
    top_count,
    top_overlap,
)
from cntbench.components import components, feasible
from cntbench.dynamics.resampling import FEWEST, mean_interval

#: Scores with many ties.
COARSE = hnp.arrays(np.float64, st.integers(2, 12), elements=st.sampled_from([0.0, 1.0, 2.0, 3.5]))
NODES = components(3, 2, parallel=True)
LAYERS = np.array([node.layer for node in NODES])
EDGES = feasible(NODES)


def matrix(seed, values=None):
    """Random influence on the feasible edges."""
    rng = np.random.default_rng(seed)
    drawn = rng.random(EDGES.shape) if values is None else rng.choice(values, EDGES.shape)
    return np.where(EDGES, drawn, np.nan)


@given(st.data(), COARSE)
def test_rank_correlation_is_scipy_s(data, first):
    other = data.draw(hnp.arrays(np.float64, first.shape, elements=st.floats(-9, 9)))
    correlation = rank_correlation(first, other)
    if np.ptp(first) == 0 or np.ptp(other) == 0:
        assert np.isnan(correlation)
    else:
        assert correlation == pytest.approx(stats.spearmanr(first, other).statistic, abs=1e-12)


def test_rank_correlation_leaves_out_what_is_undefined_on_either_side():
    first = np.array([1.0, 2.0, np.nan, 4.0, 3.0])
    other = np.array([1.0, 2.0, 9.0, np.nan, 4.0])
    assert rank_correlation(first, other) == pytest.approx(1)
    assert np.isnan(rank_correlation([1.0, np.nan], [np.nan, 1.0]))
    with pytest.raises(ValueError, match="shapes"):
        rank_correlation([1.0], [1.0, 2.0])


def test_rows_are_ranked_by_themselves_and_may_lack_different_entries():
    rng = np.random.default_rng(4)
    one, other = rng.choice([0.0, 1.0, 2.0, 3.0, np.nan], (2, 3, 4, 30))
    one[0, 0], other[1, 1], one[2, 2, 1:] = 1.0, np.nan, np.nan
    correlations = rank_correlations(one, other)
    for row in np.ndindex(3, 4):
        if row in [(0, 0), (1, 1), (2, 2)]:  # all equal, none and at most one defined
            assert np.isnan(correlations[row])
            continue
        pair = np.stack([one[row], other[row]])
        expected = stats.spearmanr(*pair[:, ~np.isnan(pair).any(axis=0)]).statistic
        assert correlations[row] == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 999), st.integers(1, 8))
def test_top_overlap_without_ties_is_the_jaccard_index(seed, k):
    rng = np.random.default_rng(seed)
    one, other = rng.permutation(8), rng.permutation(8)
    expected = jaccard_score(one >= 8 - k, other >= 8 - k)
    assert top_overlap(one, other, k) == pytest.approx(expected)


@given(COARSE, st.data())
def test_top_overlap_is_symmetric_and_blind_to_order(first, data):
    other = data.draw(hnp.arrays(np.float64, first.shape, elements=st.sampled_from([0.0, 1.0])))
    k = data.draw(st.integers(1, len(first)))
    order = np.array(data.draw(st.permutations(range(len(first)))))
    overlap = top_overlap(first, other, k)
    assert 0 <= overlap <= 1
    assert top_overlap(other, first, k) == overlap
    assert top_overlap(first[order], other[order], k) == pytest.approx(overlap)
    assert top_overlap(first, first, k) == 1


def test_tied_entries_share_the_places_that_are_left():
    # One is in the top 2 for sure, three share the other place; on the other side, the first two.
    assert top_overlap([9, 5, 5, 5], [9, 8, 1, 0], 3) == pytest.approx((7 / 3) / (11 / 3))
    assert np.isnan(top_overlap([1.0, np.nan], [1.0, 2.0], 2))


def test_weights_relative_to_layers_by_a_naive_loop():
    weights = matrix(0)
    relative = relative_to_layers(weights, LAYERS)
    for s, t in np.argwhere(EDGES):
        same = [
            weights[a, b]
            for a, b in np.argwhere(EDGES)
            if LAYERS[a] == LAYERS[s] and LAYERS[b] == LAYERS[t]
        ]
        assert relative[s, t] == pytest.approx(weights[s, t] / np.mean(same))
    assert (np.isnan(relative) == ~EDGES).all()


@given(st.integers(0, 99), st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
def test_strengths_do_not_see_what_layers_have_in_common(seed, factors):
    weights = matrix(seed)
    scale = np.array(factors)
    other = weights * scale[LAYERS][:, None] * scale[::-1][LAYERS][None, :]
    for one, two in zip(strengths(weights, LAYERS), strengths(other, LAYERS), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9)


def test_strengths_are_means_over_feasible_edges_and_nan_without():
    out, into = strengths(np.where(EDGES, 0.0, np.nan), LAYERS)
    assert np.isnan(out[LAYERS == 2]).all()
    assert np.isnan(into[LAYERS == 0]).all()
    assert (out[LAYERS < 2] == 1).all()
    assert (into[LAYERS > 0] == 1).all()


@given(st.integers(0, 99), st.floats(0.1, 10))
def test_agreement_with_itself_and_with_any_rising_function_is_whole(seed, power):
    weights = matrix(seed)
    np.testing.assert_allclose(agreement(weights, weights, LAYERS), 1)
    edges = agreement(weights, weights**power, LAYERS)[:2]
    np.testing.assert_allclose(edges, 1)
    one, two = (
        agreement(weights, matrix(seed + 1), LAYERS),
        agreement(matrix(seed + 1), weights, LAYERS),
    )
    np.testing.assert_allclose(one, two)


@given(st.integers(0, 99), st.data())
def test_only_edges_that_both_sides_have_count_for_components_too(seed, data):
    """A run of some ``--components``, ``--targets`` or ``--layers`` lacks edges of a whole one."""
    whole, other = matrix(seed), matrix(seed + 1)
    kept = data.draw(hnp.arrays(bool, EDGES.shape))
    part, other_part = (np.where(kept, weights, np.nan) for weights in (whole, other))
    agreements = agreement(whole, part, LAYERS)
    np.testing.assert_allclose(agreements[~np.isnan(agreements)], 1)
    of_parts = agreement(part, other_part, LAYERS)
    np.testing.assert_array_equal(agreement(whole, other_part, LAYERS), of_parts)
    np.testing.assert_array_equal(agreement(part, other, LAYERS), of_parts)


def test_components_as_strong_as_their_layers_have_no_order():
    """If one component of a layer is watched, it takes exactly what its layer does."""
    nodes = components(6, 3, parallel=True)
    watched = feasible(nodes) & [node.head is None for node in nodes]
    pair = np.where(watched, np.random.default_rng(0).random((2, *watched.shape)), np.nan)
    layers = np.array([node.layer for node in nodes])
    result = dict(zip(STATISTICS, agreement(*pair, layers), strict=True))
    assert np.isnan(result["gatherer_rank"])
    assert result["gatherer_top"] == 1


def test_tops_are_a_tenth_of_the_edges_and_a_fifth_of_the_components():
    nodes = components(4, 5, parallel=True)
    layers = np.array([node.layer for node in nodes])
    random = np.random.default_rng(0).random((2, *feasible(nodes).shape))
    pair = np.where(feasible(nodes), random, np.nan)
    result = dict(zip(STATISTICS, agreement(*pair, layers), strict=True))
    assert result["edge_top"] == top_overlap(*pair, round(feasible(nodes).sum() / 10))
    of_roles = zip(*(strengths(weights, layers) for weights in pair), strict=True)
    for role, both in zip(("spreader", "gatherer"), of_roles, strict=True):
        count = round((~np.isnan(both[0])).sum() / 5)
        assert result[f"{role}_top"] == top_overlap(*both, count)


def test_top_is_a_share_and_at_least_one():
    assert top_count(np.full(75, 1.0), 0.1) == 8
    assert top_count(np.array([1.0, np.nan]), 0.1) == 1


def film(ablations, checkpoints, seed=0):
    rng = np.random.default_rng(seed)
    shape = (2, len(ablations), len(checkpoints), len(NODES), len(NODES))
    names = [node.name for node in NODES]
    return xr.DataArray(
        np.where(EDGES, rng.random(shape), np.nan),
        dims=("task", "ablation", "checkpoint", "source", "target"),
        coords={
            "task": ["a", "b"],
            "ablation": list(ablations),
            "checkpoint": list(checkpoints),
            "step": ("checkpoint", np.arange(len(checkpoints))),
            "source": names,
            "target": names,
        },
    )


def test_film_agreement_of_all_pairs():
    example = film(["x", "y", "z"], ["s0", "s1", "s2"])
    agreements = film_agreement(example, example.rename(ablation="other_ablation"), LAYERS)
    values = agreements["agreement"]
    assert set(values.dims) == {"statistic", "task", "ablation", "other_ablation", "checkpoint"}
    assert list(agreements["statistic"].values) == list(STATISTICS)
    assert list(agreements["step"].values) == [0, 1, 2]
    for task, a, b, c in itertools.product("ab", "xyz", "xyz", ["s0", "s2"]):
        pair = [example.sel(task=task, ablation=name, checkpoint=c).values for name in (a, b)]
        cell = values.sel(task=task, ablation=a, other_ablation=b, checkpoint=c)
        np.testing.assert_allclose(cell, agreement(*pair, LAYERS))
    mean = agreements["agreement_mean"].transpose(*(d for d in values.dims if d != "checkpoint"))
    np.testing.assert_allclose(mean, values.mean("checkpoint"))
    assert agreements["agreement_low"].isnull().all()  # three checkpoints are too few


def test_film_agreement_over_many_checkpoints_has_an_interval():
    steps = [f"s{number}" for number in range(FEWEST)]
    agreements = film_agreement(film(["x"], steps), film(["x"], steps, seed=1), LAYERS)
    assert (agreements["agreement_low"] < agreements["agreement_mean"]).all()
    assert (agreements["agreement_high"] > agreements["agreement_mean"]).all()


def test_film_agreement_one_by_one():
    one, other = film(["x", "y"], ["s0"]), film(["x", "y"], ["s0"], seed=1)
    agreements = film_agreement(one, other, LAYERS)["agreement"]
    assert agreements.dims == ("statistic", "task", "ablation", "checkpoint")
    pair = [f.sel(task="a", ablation="y", checkpoint="s0").values for f in (one, other)]
    np.testing.assert_allclose(
        agreements.sel(task="a", ablation="y")[:, 0], agreement(*pair, LAYERS)
    )


@given(hnp.arrays(np.float64, st.integers(2, 9), elements=st.floats(-5, 5)))
def test_the_t_interval_is_scipy_s(values):
    mean, low, high = t_interval(values)
    assert mean == pytest.approx(values.mean())
    if stats.sem(values) > 1e-9:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high))


def test_intervals_of_few_values():
    for interval in (t_interval, film_interval):
        assert np.isnan(interval([])).all()
        assert interval([np.nan, 2.0])[0] == 2
        assert np.isnan(interval([np.nan, 2.0])[1:]).all()
    assert t_interval([3.0, 3.0, np.nan]) == (3, 3, 3)
    values = np.array([0.2, 0.9, 0.4])
    of_mean = jackknife_interval(values.mean(), (values.sum() - values) / 2)
    np.testing.assert_allclose(of_mean, t_interval(values)[1:])
    assert film_interval([np.nan, *[0.5] * FEWEST]) == (0.5, 0.5, 0.5)
    rising = np.linspace(0.2, 1, FEWEST)
    assert film_interval(rising)[2] == 1 < mean_interval(rising)[1]


@given(hnp.arrays(np.float64, st.integers(FEWEST, 30), elements=st.floats(-1, 1)))
def test_the_interval_over_checkpoints_is_that_of_a_series_with_memory(values):
    mean, low, high = film_interval(values)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(tuple(np.clip(mean_interval(values), -1, 1)))
    assert np.isnan(film_interval(values[: FEWEST - 1])[1:]).all()


@pytest.mark.parametrize("memory", [0, 0.5, 0.8])
def test_the_interval_over_checkpoints_covers_the_mean(memory):
    """95 % of the intervals do; with 200, a share of 0.90 is three standard errors less."""
    rng = np.random.default_rng(0)
    noise = 0.05 * rng.standard_normal((200, 40))
    courses = noise.copy()
    for at in range(1, 40):
        courses[:, at] = memory * courses[:, at - 1] + np.sqrt(1 - memory**2) * noise[:, at]
    bounds = np.array([film_interval(course)[1:] for course in courses])
    assert ((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)).mean() >= 0.90


@given(st.integers(0, 99))
def test_reliability_of_matrices(seed):
    one, two = matrix(seed), matrix(seed + 1)
    rho = stats.spearmanr(one[EDGES], two[EDGES]).statistic
    assert split_half(one, two) == pytest.approx(2 * rho / (1 + abs(rho)))
    assert split_half(one, one) == pytest.approx(1)
    assert split_half(one, -one) == pytest.approx(-1)


def test_halves_predict_the_reliability_of_the_whole():
    # Signal and noise of equal variance in a half: ρ = ½ between halves, ⅔ between wholes.
    rng = np.random.default_rng(0)
    signal, noise = rng.standard_normal(20000), rng.standard_normal((2, 20000))
    assert split_half(signal + noise[0], signal + noise[1]) == pytest.approx(2 / 3, abs=0.03)
