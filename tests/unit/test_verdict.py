"""The verdict on methods: who is better, who is tied, what it costs, and in which words."""

from __future__ import annotations

import itertools
import os
import re
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from scipy import stats

from cntbench.analysis.recovery import Recovery
from cntbench.comparison.files import COMPARISON, open_comparison
from cntbench.comparison.purposes import PURPOSES, purpose_scores
from cntbench.comparison.table import TITLE
from cntbench.comparison.verdict import verdict
from cntbench.errors import StorageError
from cntbench.reporting.comparison import verdict_tables
from cntbench.reporting.page.sections import cost_panels, verdict_section
from cntbench.results.storage import write_dataset
from cntbench.views.verdict import verdict as view_of

NAMES = ["exact", "twin", "cheap", "chance"]


def scores(values, names=NAMES, purpose="direct_edges"):
    """Scores with dims ``ablation, circuit, seed``."""
    values = np.asarray(values, dtype=float)
    circuits = [f"dag{i}" for i in range(values.shape[1])]
    labels = {
        "purpose": [purpose],
        "ablation": names,
        "scored_circuit": circuits,
        "seed": list(range(values.shape[2])),
    }
    return xr.DataArray(values[None], labels, tuple(labels), name="score_by_model")


def costs(*passes, names=NAMES):
    return xr.DataArray(list(passes), {"ablation": names})


@pytest.fixture(scope="module")
def ranked():
    """Two methods that are alike, one that is worse on every model, and one at chance."""
    rng = np.random.default_rng(0)
    easy = 0.9 + 0.05 * rng.random((8, 3))
    noise = 0.002 * rng.standard_normal((2, 8, 3))
    values = [easy + noise[0], easy + noise[1], easy - 0.03, np.full((8, 3), 0.5)]
    array = scores(values)
    passes = costs(20, 10, 1, 0.5)
    return array, verdict(array, passes).assign(
        score_by_model=array, forward_passes=passes.assign_attrs(long_name="passes", units="1")
    )


def test_the_headline_recommends_what_the_sentence_does():
    """A cheap method may be far worse on some circuits without being worse beyond chance."""
    values = [np.full((6, 1), 0.9), np.array([1, 0.2, 1, 0.2, 1, 0.2])[:, None]]
    array, passes = scores(values, ["steady", "erratic"]), costs(20, 1, names=["steady", "erratic"])
    judged = verdict(array, passes).assign(score_by_model=array, forward_passes=passes)
    [ranking] = view_of(judged).ranking
    assert [method.rank for method in ranking.method] == [1, 1]
    assert ranking.sentence.startswith("For direct edges use steady (")
    assert ranking.use.ablation == "steady"
    assert len(ranking.tied) == 1


@pytest.mark.parametrize(
    ("circuits", "trained", "mean", "deviation"),
    [(6, 0, 0.77, 0.10), (6, 0, 0.90, 0.05), (8, 2, 0.97, 0.03)],
)
def test_intervals_cover_scores_near_the_largest_one(circuits, trained, mean, deviation):
    """``docs/compare.md`` gives the rates of 1000 comparisons of two equally good methods."""
    count = int(os.environ.get("CNTBENCH_FILMS", "60"))
    rng, size = np.random.default_rng(0), mean * (1 - mean) / deviation**2 - 1
    covered, better = [], []
    for _ in range(count):
        of_circuits = rng.beta(mean * size, (1 - mean) * size, (2, circuits, 1))
        values = of_circuits * np.ones(3)  # models scatter by a third as much about their circuit
        values[:, : circuits - trained] = rng.beta(
            *(9 * size * part[:, : circuits - trained] + 1e-3 for part in (values, 1 - values))
        )
        ranking = verdict(scores(values, NAMES[:2])).sel(purpose="direct_edges")
        first = ranking.isel(ablation=0)
        covered.append(first["score_low"] <= mean <= first["score_high"])
        better.append(ranking["rank"].max() > 1)
    print(f"{circuits} circuits, mean {mean}: {np.mean(covered):.3f}, {np.mean(better):.3f}")
    assert np.mean(covered) >= 0.80
    assert np.mean(better) <= 0.15


def test_methods_that_are_better_on_every_model_are_ranked_and_others_are_tied(ranked):
    array, ranking = ranked
    at = ranking.sel(purpose="direct_edges")
    assert list(at["rank"].values) == [1, 1, 3, 4]
    np.testing.assert_allclose(at["score"], array[0].mean(["scored_circuit", "seed"]))
    assert (at["score_low"] <= at["score"]).all()
    assert (at["score"] <= at["score_high"]).all()
    assert at["score_low"].sel(ablation="chance") == at["score_high"].sel(ablation="chance") == 0.5


def test_one_sentence_says_what_to_use_what_ties_and_what_is_cheaper(ranked):
    _, ranking = ranked
    at = ranking.sel(purpose="direct_edges")
    score, low, high = (
        at[f"score{end}"].sel(ablation="twin").item() for end in ("", "_low", "_high")
    )
    assert at["verdict"].item() == (
        f"For direct edges use twin (AUROC {score:.2f} [{low:.2f}, {high:.2f}], "
        "10 forward passes); exact ties with it and costs more; cheap costs a tenth and loses 0.03."
    )


def test_a_worse_method_is_not_recommended_and_a_cheaper_one_costs_half():
    easy = np.random.default_rng(0).uniform(0.5, 1, (8, 1))
    array = scores([easy, easy - 0.01, easy - 0.2, easy - 0.3])
    sentence = verdict(array, costs(10, 6, 5, 1)).sel(purpose="direct_edges")["verdict"].item()
    assert sentence.startswith("For direct edges use exact (")
    assert sentence.endswith("10 forward passes); cheap costs half and loses 0.20.")


def test_a_cheaper_method_of_a_lower_rank_may_have_the_higher_score():
    """It had been said to lose −0.03."""
    best = np.random.default_rng(0).uniform(0.5, 1, (8, 1))
    unsteady = best + np.tile([-0.1, 0.02], 4)[:, None]
    array = scores([best, unsteady, best - 0.01], ["best", "unsteady", "near"])
    ranking = verdict(array, costs(10, 8, 1, names=["best", "unsteady", "near"]))
    assert ranking["rank"].values.tolist() == [[1, 1, 2]]
    sentence = ranking["verdict"].item()
    assert sentence.startswith("For direct edges use unsteady (")
    assert sentence.endswith(
        "; near costs 12 % of that and scores 0.03 more, but is not of the first rank."
    )


def test_what_ties_at_the_same_cost_is_not_said_to_cost_more(ranked):
    array, _ = ranked
    ranking = verdict(array, costs(10, 10, 1, 0.5)).sel(purpose="direct_edges")
    assert " ties with it and costs as much or more; " in ranking["verdict"].item()


def test_the_front_holds_what_nothing_beats_in_score_and_cost():
    rng = np.random.default_rng(1)
    names = [f"m{i}" for i in range(9)]
    values, passes = rng.integers(0, 4, 9) / 4, rng.integers(1, 4, 9).astype(float)
    array = scores(np.broadcast_to(values[:, None, None], (9, 3, 2)), names)
    ranking = verdict(array, costs(*passes, names=names))["pareto"].values[0]
    for i in range(9):
        beaten = any(
            (values[j], -passes[j]) != (values[i], -passes[i])
            and values[j] >= values[i]
            and passes[j] <= passes[i]
            for j in range(9)
        )
        assert ranking[i] == (not beaten)


def test_without_costs_the_best_is_named_and_no_front():
    array = scores(np.stack([np.full((8, 2), value) for value in (0.9, 0.8, 0.7, 0.5)]))
    ranking = verdict(array)
    assert np.isnan(ranking["pareto"]).all()
    assert ranking["verdict"].item() == "For direct edges use exact (AUROC 0.90 [0.90, 0.90])."


def test_who_did_not_take_part_is_named_with_the_reason(ranked):
    array, _ = ranked
    array = array.copy()
    array.loc[{"ablation": "twin"}] = np.nan
    array.loc[{"ablation": "cheap", "scored_circuit": "dag3", "seed": 1}] = np.nan
    ranking = verdict(array, costs(20, 10, 1, 0.5)).assign(
        score_by_model=array, forward_passes=costs(20, 10, 1, 0.5)
    )
    assert ranking["unscored"].values[0].tolist() == [
        "",
        "it was not measured on the planted circuits",
        "it has no score on dag3",
        "",
    ]
    assert np.isnan(ranking["rank"].sel(ablation=["twin", "cheap"])).all()
    text = printed(ranking)
    assert "edges: twin (it was not measured on the planted circuits)." in text
    assert "Not ranked for direct edges: cheap (it has no score on dag3)." in text


def test_purposes_for_which_fewer_circuits_have_scores_are_said():
    """A trained circuit knows no direct edges: their scores are over the others alone."""
    values = np.random.default_rng(0).random((2, 3, 2))
    fewer = values.copy()
    fewer[:, 2] = np.nan
    parts = [scores(fewer, NAMES[:2]), scores(values, NAMES[:2], purpose="circuit")]
    array = xr.concat(parts, "purpose")
    passes = costs(2, 1, names=NAMES[:2])
    ranking = verdict(array, passes).assign(score_by_model=array, forward_passes=passes)
    words = "3 circuits (2 for direct edges), with up to 2 models of each"
    assert view_of(ranking).sample == words
    assert words in printed(ranking)
    over = verdict_section(view_of(ranking), ())["over"]
    assert over.endswith("2 models of each of: dag0, dag1 and dag2 (2 for direct edges).")


def test_one_model_has_no_interval():
    """It was its own score twice, as if that were certain."""
    array, passes = scores([[[0.9]], [[0.5]]], NAMES[:2]), costs(2, 1, names=NAMES[:2])
    ranking = verdict(array, passes)
    ranking = ranking.assign(score_by_model=array, forward_passes=passes)
    assert ranking[["score_low", "score_high"]].isnull().to_array().all()
    assert ranking["score"].values.tolist() == [[0.9, 0.5]]
    sentence = (
        "For direct edges use exact (AUROC 0.90, 2 forward passes); twin costs half and loses"
    )
    assert sentence in printed(ranking)
    assert "nan" not in printed(ranking)
    assert view_of(ranking).ranking[0].use.ablation == "exact"
    (panel,) = cost_panels(view_of(ranking))
    assert [(m["score"], m["low"], m["high"]) for m in panel["method"]] == [
        (0.5, None, None),
        (0.9, None, None),
    ]


def test_a_purpose_for_which_no_circuit_has_a_score_ranks_nobody():
    """Trained circuits alone, for direct edges: their truth is not known."""
    array = scores(np.full((2, 1, 1), np.nan), NAMES[:2])
    ranking = verdict(array, costs(2, 1, names=NAMES[:2]))
    ranking = ranking.assign(score_by_model=array, forward_passes=costs(2, 1, names=NAMES[:2]))
    assert ranking[["score", "score_low", "rank", "pareto"]].isnull().to_array().all()
    assert (ranking["unscored"] == "no circuit has a score for this purpose").all()
    assert ranking["verdict"].item() == "For direct edges no method was scored."
    assert "For direct edges no method was scored." in printed(ranking)


@pytest.mark.parametrize("within", [0.3, 1.0])
def test_intervals_hold_the_truth_as_often_as_they_say(within):
    rng = np.random.default_rng(2)
    tries, circuits = 80, 8
    means = rng.standard_normal((tries, circuits, 1))
    values = means + within * rng.standard_normal((tries, circuits, 3))
    hits = 0
    for first, second in zip(values[::2], values[1::2], strict=True):
        ranking = verdict(scores([first, second], ["a", "b"]))
        inside = (ranking["score_low"] <= 0) & (ranking["score_high"] >= 0)
        hits += int(inside.sum())
    assert 0.89 <= hits / tries <= 0.99


def test_intervals_are_those_of_a_bootstrap_of_circuits_and_models_widened_for_few():
    """The tail is that of Student's t in a bootstrap, whose variance is too small (Hesterberg)."""
    rng, circuits = np.random.default_rng(5), 6
    tail = stats.norm.cdf(np.sqrt(6 / 5) * stats.t.ppf(0.025, 5))
    ranking, expected = [], []
    for _ in range(25):
        values = rng.standard_normal((circuits, 1)) + rng.standard_normal((circuits, 3))
        at = verdict(scores([values, values], NAMES[:2])).sel(ablation="twin")
        ranking.append(float((at["score_high"] - at["score_low"]).squeeze()))
        of_circuits = rng.integers(0, circuits, (8000, circuits, 1))
        of_models = rng.integers(0, 3, (8000, circuits, 3))
        means = values[of_circuits, of_models].mean(axis=(1, 2))
        expected.append(np.ptp(np.quantile(means, [tail, 1 - tail])))
    assert np.mean(ranking) == pytest.approx(np.mean(expected), rel=0.02)


def ranks_of(values, names):
    """Ranks, which do not depend on resamples: a few are made."""
    with patch("cntbench.comparison.verdict._RESAMPLES", 2):
        return verdict(scores(values, names))["rank"].values[0]


def normal(rng, methods):
    """Scatter of methods over circuits."""
    return rng.standard_normal((methods, 8, 1))


def skewed(rng, methods):
    """Scatter with a long tail, up to ten times as large for some methods as for others."""
    return rng.uniform(0.3, 3, (methods, 1, 1)) * (rng.exponential(size=(methods, 8, 1)) - 1)


@pytest.mark.parametrize("methods", [2, 6, 18])
@pytest.mark.parametrize(
    ("scatter", "ahead", "is_seen", "most_wrong"),
    [
        (normal, 0, 0.0, 0.05),
        (normal, 2, 0.25, 0.05),
        (normal, 6, 0.97, 0.05),
        (skewed, 0, 0.0, 0.2),
    ],
)
def test_ranks_of_equally_good_methods_seldom_differ(methods, scatter, ahead, is_seen, most_wrong):
    """``docs/compare.md`` gives the rates of 400 comparisons. By pairs, 0.95 of 18 are wrong."""
    count = int(os.environ.get("CNTBENCH_FILMS", "50"))
    rng = np.random.default_rng(methods)
    names, wrong, seen = [f"m{i}" for i in range(methods)], [], []
    for _ in range(count):
        values = rng.standard_normal((1, 8, 1)) + scatter(rng, methods)
        values = values + 0.5 * rng.standard_normal((methods, 8, 3))
        values[0] += ahead
        ranks = ranks_of(values, names)
        statements, true = int((ranks - 1).sum()), methods - 1 if ahead else 0
        wrong.append(max(0, statements - true) / max(1, statements))
        seen.append((ranks[0] == 1) * (ranks[1:] > 1).mean())
    ranking = f"{np.mean(wrong):.3f} wrong, {np.mean(seen):.3f} seen"
    print(f"{methods} methods, {scatter.__name__}, one ahead by {ahead}: {ranking}")
    assert np.mean(wrong) <= most_wrong + 3 * np.sqrt(most_wrong * (1 - most_wrong) / count)
    assert np.mean(seen) >= is_seen


def test_ranks_are_those_of_scipy_and_a_loop_over_pairs():
    """The largest k of p-values in order with p ≤ 0.05 k / pairs."""
    rng = np.random.default_rng(3)
    counts = set()
    for case in range(40):
        scale, circuits = 10 ** rng.uniform(-0.7, 0.5), 3 + case % 5
        values = np.arange(4)[:, None] + scale * rng.standard_normal((4, circuits))
        pairs = list(itertools.combinations(range(4), 2))
        p_values = {
            pair: stats.ttest_rel(values[pair[0]], values[pair[1]]).pvalue for pair in pairs
        }
        order = sorted(pairs, key=p_values.__getitem__)
        ranking = [k for k, pair in enumerate(order, 1) if p_values[pair] <= 0.05 * k / len(pairs)]
        better = [
            (i, j) if values[i].mean() > values[j].mean() else (j, i)
            for i, j in order[: max(ranking, default=0)]
        ]
        counts.add(len(better))
        expected = [1 + sum(worse == method for _, worse in better) for method in range(4)]
        assert ranks_of(values[:, :, None], NAMES).tolist() == expected
    assert len(counts) == 7


def test_equal_methods_are_no_evidence_that_others_differ():
    """Of three p-values of 1, 0.04 and 0.04, none is found at a rate of 0.05."""
    base, apart = np.random.default_rng(0).standard_normal((2, 8))
    apart += 2.5 * apart.std(ddof=1) / np.sqrt(8) - apart.mean()
    assert 0.04 < stats.ttest_1samp(apart, 0).pvalue < 0.042
    assert ranks_of(np.stack([base, base, base - apart])[:, :, None], NAMES[:3]).tolist() == [1] * 3


def test_rounding_makes_no_method_better():
    values = np.random.default_rng(0).random((8, 2))
    assert ranks_of(np.stack([values, values + 1e-12]), NAMES[:2]).tolist() == [1, 1]


@pytest.mark.parametrize(("shape", "rank"), [((1, 1), 1), ((1, 3), 2), ((3, 2), 2)])
def test_models_take_the_place_of_circuits_where_there_is_one(shape, rank):
    values = np.stack([np.full(shape, value) for value in (0.9, 0.5)])
    assert ranks_of(values, NAMES[:2]).tolist() == [1, rank]


def test_a_method_is_not_recommended_because_too_few_circuits_tell_it_from_a_better_one():
    values = np.array([[0.9, 0.88, 0.92], [0.89, 0.9, 0.9], [0.3, 0.9, 0.5]])[:, :, None]
    ranking = verdict(scores(values, NAMES[:3]), costs(5, 4, 1, names=NAMES[:3]))
    assert ranking["rank"].values.tolist() == [[1, 1, 1]]
    assert ranking["verdict"].item().startswith("For direct edges use twin (AUROC 0.90 [")
    assert "exact ties with it and costs more; cheap costs a quarter" in ranking["verdict"].item()


def test_scores_are_recoveries_of_the_realistic_models():
    edges = np.triu(np.ones((3, 3), dtype=bool), 1)
    direct, total, readout = (np.zeros((3, 3), dtype=bool) for _ in range(3))
    direct[[0, 1], [1, 2]] = total[0] = True
    total[0, 0] = False
    total[1, 2] = readout[1, 2] = True
    perfect = np.where(edges, direct + 0.5 * readout, np.nan)
    made = [
        Recovery(circuit, difficulty, seed, "a", perfect, direct, total, readout)
        for circuit in ("dag", "gate")
        for difficulty in ("exact", "realistic")
        for seed in range(2)
    ]
    areas = {("a", "dag", 0): 0.7, ("a", "dag", 1): 0.8}
    ranking = purpose_scores(made, ["a", "b"], ["dag", "absent"], areas)
    assert list(ranking["scored_circuit"].values) == ["dag"]
    values = ranking["score_by_model"].sel(ablation="a", scored_circuit="dag", seed=0)
    assert values.sel(purpose="direct_edges") == values.sel(purpose="readout_edges") == 1
    assert values.sel(purpose="circuit") == 0.7
    assert np.isnan(values.sel(purpose="total_influence"))  # every pair is true
    assert np.isnan(ranking["score_by_model"].sel(ablation="b")).all()
    assert purpose_scores(made, ["a"], ["absent"], {}) is None


def test_trained_models_score_only_where_the_answer_counts():
    edges = np.triu(np.ones((3, 3), dtype=bool), 1)
    truth = np.zeros((3, 3), dtype=bool)
    truth[0, 1] = True
    influence = np.where(edges, truth, np.nan)
    record = Recovery("taught", "trained", 0, "a", influence, truth, truth, truth)
    ranking = purpose_scores([record], ["a"], ["taught"], {("a", "taught", 0): 0.7})
    values = ranking["score_by_model"].squeeze(drop=True)
    assert values.sel(purpose=["readout_edges", "circuit"]).values.tolist() == [1, 0.7]
    assert np.isnan(values.sel(purpose=["direct_edges", "total_influence"])).all()


def printed(dataset):
    console = Console(width=300, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for part in verdict_tables(dataset):
        console.print(part)
    return console.export_text()


def test_terminal_page_and_dataset_say_the_same(ranked):
    _, judged = ranked
    sentence = judged["verdict"].item()
    text = printed(judged)
    assert sentence in text
    section = verdict_section(view_of(judged), used=["twin"])
    assert [ranking.sentence for ranking in section["rankings"]] == [sentence]
    assert [row["used"] for row in section["rows"]] == [
        row["name"] == "twin" for row in section["rows"]
    ]
    for row in section["rows"]:
        [cell] = row["cells"]
        score = cell["score"].split(" ")[0]
        rank = re.escape(cell["rank"])
        assert re.search(rf"{row['name']} +{rank} +{score}.* {re.escape(row['cost'])}", text)


def test_a_verdict_is_checked_when_it_is_read(ranked, tmp_path):
    _, ranking = ranked
    whole = ranking.assign_attrs(title=TITLE)
    write_dataset(whole, tmp_path / "c.nc", COMPARISON)
    xr.testing.assert_equal(open_comparison(tmp_path / "c.nc"), whole)
    write_dataset(whole.drop_vars("rank"), tmp_path / "d.nc", COMPARISON)
    with pytest.raises(StorageError, match="'rank' is missing"):
        open_comparison(tmp_path / "d.nc")


def test_every_purpose_has_its_words():
    for purpose in PURPOSES.values():
        assert purpose.title
        assert not purpose.meaning.endswith(".")
