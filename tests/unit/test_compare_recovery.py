"""Recovery and diagnostics, against naive loops and enumeration."""

from __future__ import annotations

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cntbench.analysis.diagnostics import Diagnostic, diagnostics
from cntbench.analysis.recovery import (
    Recovery,
    auroc,
    average_precision,
    random_average_precision,
    recovery,
    tied,
)
from cntbench.comparison.circuits.selection import greedy, top
from cntbench.errors import CntbenchError

COARSE = hnp.arrays(np.float64, (3, 4), elements=st.sampled_from([0.0, 1.0, 2.0, np.nan]))
TRUTH = hnp.arrays(np.bool_, (3, 4))


def feasible(scores, truth):
    return truth & ~np.isnan(scores)


@given(COARSE, TRUTH)
def test_auroc_counts_pairs_and_ties_half(scores, truth):
    truth = feasible(scores, truth)
    true, others = scores[truth], scores[~truth & ~np.isnan(scores)]
    pairs = [(a > b) + 0.5 * (a == b) for a in true for b in others]
    area = auroc(scores, truth)
    assert np.isnan(area) if not pairs else area == pytest.approx(np.mean(pairs))


@given(COARSE, TRUTH)
def test_average_precision_takes_tied_edges_together(scores, truth):
    truth = feasible(scores, truth)
    allowed = ~np.isnan(scores)
    precision = average_precision(scores, truth)
    if not truth.any() or (truth == allowed).all():
        assert np.isnan(precision)
        return
    precisions = [
        truth[allowed & (scores >= score)].sum() / (allowed & (scores >= score)).sum()
        for score in scores[truth]
    ]
    assert precision == pytest.approx(np.mean(precisions))


@given(st.integers(0, 999))
def test_rounding_decides_nothing(seed):
    """The last bits of a score depend on the processor: no statistic may."""
    rng = np.random.default_rng(seed)
    scores = rng.choice([0.0, 0.1, 0.4073103, 1.0], size=(5, 6))
    truth = rng.random((5, 6)) < 0.5
    rounded = scores * (1 + rng.uniform(-1e-7, 1e-7, scores.shape))
    np.testing.assert_equal(auroc(rounded, truth), auroc(scores, truth))
    np.testing.assert_equal(average_precision(rounded, truth), average_precision(scores, truth))
    for count in range(0, 30, 4):
        assert (top(rounded, count) == top(scores, count)).all()
        assert (greedy(rounded, count) == greedy(scores, count)).all()


def test_scores_further_apart_are_not_tied():
    scores = np.array([[0.3, -0.2, np.nan], [0.3 * (1 + 3e-6), -0.2 * (1 + 1e-7), 0.0]])
    assert tied(scores[0]).tolist()[:2] == [0.3, -0.2]
    flat = tied(scores.ravel())
    assert len(np.unique(flat[~np.isnan(flat)])) == 4
    assert np.isnan(flat[2])


@given(st.integers(0, 99), st.floats(0.5, 3))
def test_recovery_depends_on_ranks_only_and_reversal_reverses_it(seed, power):
    rng = np.random.default_rng(seed)
    scores, truth = rng.random((4, 4)), np.eye(4, dtype=bool)
    assert auroc(scores**power, truth) == auroc(scores, truth)
    assert average_precision(scores**power, truth) == average_precision(scores, truth)
    assert auroc(-scores, truth) == pytest.approx(1 - auroc(scores, truth))
    assert auroc(truth + scores / 2, truth) == average_precision(truth + scores / 2, truth) == 1


@pytest.mark.parametrize(("true", "count"), [(1, 2), (1, 6), (2, 5), (3, 6), (5, 6)])
def test_random_scores_by_every_ranking_there_is(true, count):
    truth = np.arange(count) < true
    every = [
        average_precision(np.array(scores, dtype=float), truth)
        for scores in itertools.permutations(range(count))
    ]
    assert random_average_precision(true, count) == pytest.approx(np.mean(every))


def test_random_scores_approach_the_prevalence():
    assert random_average_precision(30_000, 100_000) == pytest.approx(0.3, abs=1e-3)
    assert random_average_precision(8, 75) > 8 / 75
    assert np.isnan(random_average_precision(0, 5))
    assert np.isnan(random_average_precision(5, 5))


def record(scores, seed=0, circuit="c", ablation="a", difficulty="exact", direct=None, total=None):
    direct = np.eye(3, k=1, dtype=bool) if direct is None else direct
    total = np.triu(np.ones((3, 3), dtype=bool), 1) if total is None else total
    return Recovery(circuit, difficulty, seed, ablation, scores, direct, total)


def layered(seed, size=5):
    rng = np.random.default_rng(seed)
    edges = np.triu(np.ones((size, size), dtype=bool), 1)
    direct = edges & (rng.random((size, size)) < 0.4)
    direct[0, 1], direct[0, 2] = True, False
    return np.where(edges, rng.random((size, size)), np.nan), direct, edges


def test_recovery_is_the_mean_over_seeds_with_its_interval():
    made = {seed: layered(seed) for seed in range(4)}
    records = [record(s, seed, direct=d, total=t) for seed, (s, d, t) in made.items()]
    recovered = recovery(records)
    cell = recovered.sel(circuit="c", difficulty="exact", ablation="a")
    each = [auroc(scores, direct) for scores, direct, _ in made.values()]
    direct = cell.sel(truth="direct")
    assert direct["auroc"].item() == pytest.approx(np.mean(each))
    expected = stats.ttest_1samp(each, 0).confidence_interval(0.95)
    assert direct["auroc_low"].item() == pytest.approx(expected.low)
    assert direct["auroc_high"].item() == pytest.approx(expected.high)
    each = [average_precision(scores, direct) for scores, direct, _ in made.values()]
    assert direct["ap"].item() == pytest.approx(np.mean(each))
    chance = [random_average_precision(int(d.sum()), 10) for _, d, _ in made.values()]
    assert direct["baseline_ap"].item() == pytest.approx(np.mean(chance))
    assert direct["seeds"].item() == 4
    # Every feasible edge carries a total effect here, so there is nothing to tell apart.
    total = cell.sel(truth="total")
    assert np.isnan(total["auroc"])
    assert total["seeds"].item() == 0


def test_intervals_of_scores_end_at_1():
    scores, direct, total = layered(0)
    seeds = {0: scores, 1: np.where(np.isnan(scores), np.nan, direct)}
    recovered = recovery(record(s, seed, direct=direct, total=total) for seed, s in seeds.items())
    assert recovered["auroc_high"].sel(truth="direct").item() == 1


def test_what_was_not_measured_is_nan():
    scores, direct, total = layered(0)
    recovered = recovery(
        [
            record(scores, circuit="c", direct=direct, total=total),
            record(scores, circuit="d", ablation="b", direct=direct, total=total),
        ]
    )
    assert list(recovered["ablation"].values) == ["a", "b"]
    missing = recovered.sel(circuit="c", ablation="b")
    assert np.isnan(missing["auroc"]).all()
    assert (missing["seeds"] == 0).all()
    assert recovery([]).sizes["circuit"] == 0
    for name in ("auroc", "ap", "baseline_ap", "auroc_low", "ap_high"):
        assert recovered[name].dims == ("circuit", "difficulty", "truth", "ablation")
        assert recovered[name].attrs["units"] == "1"


def test_a_true_edge_that_is_not_feasible_is_refused():
    scores, direct, total = layered(0)
    direct[3, 1] = True
    with pytest.raises(CntbenchError, match=r"circuit 'c': the true edge from component 3 to 1"):
        recovery([record(scores, direct=direct, total=total)])


def test_a_seed_that_stands_twice_is_refused():
    scores, direct, total = layered(0)
    single = record(scores, direct=direct, total=total)
    with pytest.raises(
        CntbenchError, match=r"'a' was measured twice on circuit 'c', exact, seed 0"
    ):
        recovery([single, single])


def test_diagnostics_show_the_first_expectation_that_is_not_met():
    table = diagnostics(
        [
            Diagnostic("chain", "zero", True, 0.0, 1e-6, "no A → C"),
            Diagnostic("chain", "zero", False, 0.5, 0.1, "A → B"),
            Diagnostic("chain", "zero", False, 0.7, 0.1, "B → C"),
            Diagnostic("null", "mean", True, 0.0, 1e-6, "nothing"),
        ]
    )
    cell = table.sel(circuit="chain", ablation="zero")
    assert cell["passed"].item() == 0
    assert (cell["value"].item(), cell["threshold"].item()) == (0.5, 0.1)
    assert cell["what"].item() == "A → B"
    assert table.sel(circuit="null", ablation="mean")["passed"].item() == 1
    assert np.isnan(table.sel(circuit="null", ablation="zero")["passed"])
    assert diagnostics([]).sizes == {"circuit": 0, "ablation": 0}


def test_of_a_trained_circuit_only_the_edges_to_the_answer_are_known():
    scores, true = np.array([[0.1, 0.2, 0.3]]), np.array([[True, False, True]])
    planted, trained = (
        Recovery("dag", difficulty, 0, "zero", scores, true, true, true)
        for difficulty in ("exact", "trained")
    )
    assert trained.truth("truth_direct") is trained.truth("truth_total") is None
    assert trained.truth("truth_readout") is planted.truth("truth_readout") is true
    assert planted.truth("") is None
    assert recovery([planted, trained])["difficulty"].values.tolist() == ["exact"]
