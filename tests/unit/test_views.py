"""What is drawn is what the result holds: every view against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from support.films import random_film
from support.results import (
    NAMES,
    comparison_dataset,
    film_with_gaps,
    quiet,
    whole_result,
    with_phases,
)

from cntbench.analysis.derived import NullDraws, derived
from cntbench.views.bump import bump
from cntbench.views.comparison import agreement, methods
from cntbench.views.effects import effects
from cntbench.views.film import film
from cntbench.views.heads import BEHAVIOURS, behaviours
from cntbench.views.metrics import metric, metric_names, phases, recurrence
from cntbench.views.missing import Missing
from cntbench.views.provenance import provenance
from cntbench.views.readouts import readouts, steepest_rise, task_of_interest
from cntbench.views.steps import step_axis
from cntbench.views.verdict import claims, verdict

TASK, ABLATION = "bigram", "mean"


@pytest.fixture(scope="module")
def root():
    return film_with_gaps()


@pytest.fixture(scope="module")
def tree(root):
    return whole_result(root)


@pytest.fixture(scope="module")
def bare(root):
    return xr.DataTree(root)


def test_heads_do_what_their_scores_reach_and_position_counts_alone(root):
    scores = {
        "L0.H0": {"previous_token": 0.5, "prefix_matching": 0.9, "positional": 0.9},
        "L0.H1": {"duplicate_token": 0.4999, "positional": 0.6, "copying": 0.7},
        "L0.MLP": {"copying": 0.1},
        "L1.H0": {},
    }
    changed = root.copy(deep=True)
    for behaviour in BEHAVIOURS:
        changed[behaviour.score][:] = np.nan
        for name, values in scores.items():
            cell = {"source": name, "checkpoint": NAMES[2]}
            if "task" in changed[behaviour.score].dims:
                cell["task"] = TASK
            changed[behaviour.score].loc[cell] = values.get(behaviour.score, np.nan)
    expected = {
        "L0.H0": [("previous-token", 0.5), ("induction", 0.9)],
        "L0.H1": [("positional", 0.6), ("copying", 0.7)],
    }
    heads = behaviours(changed, TASK, 2)
    assert {
        name: [(d.behaviour.name, round(d.score, 6)) for d in done] for name, done in heads.items()
    } == expected
    assert [*behaviours(changed.drop_vars("positional"), TASK, 2)] == ["L0.H0", "L0.H1"]
    assert not behaviours(changed, TASK, 1)


def test_the_film_has_every_feasible_edge_with_its_error(root, tree):
    view = film(tree, TASK, ABLATION)
    names = view.layout.component
    cell = root.sel(task=TASK, ablation=ABLATION)
    joined = set()
    for edge, (s, t) in enumerate(zip(view.layout.source, view.layout.target, strict=True)):
        pair = cell.sel(source=names[s], target=names[t])
        np.testing.assert_array_equal(view.weight[:, edge], pair["influence"].astype(float))
        np.testing.assert_array_equal(view.error[:, edge], pair["influence_se"].astype(float))
        joined.add((names[s], names[t]))
    feasible = cell["influence"].notnull().any("checkpoint").values
    assert joined == {(names[s], names[t]) for s, t in np.argwhere(feasible)}
    assert view.status[3] == "failed"
    assert np.isnan(view.weight[3]).all()


def test_strengths_are_means_over_feasible_edges(root, tree):
    view = film(tree, TASK, ABLATION)
    for at, name in enumerate(NAMES):
        weights = root["influence"].sel(task=TASK, ablation=ABLATION, checkpoint=name)
        for number, component in enumerate(view.layout.component):
            for values, side in ((view.sent, "source"), (view.received, "target")):
                edges = weights.sel({side: component}).values
                edges = edges[~np.isnan(edges)]
                if not len(edges):
                    assert np.isnan(values[at, number])
                else:
                    assert values[at, number] == pytest.approx(sum(map(float, edges)) / len(edges))


def test_strongest_edges_come_first_and_gaps_have_none(tree):
    view = film(tree, TASK, ABLATION)
    weights = view.weight[2]
    assert list(view.strongest(2, 4)) == sorted(range(len(weights)), key=lambda e: -weights[e])[:4]
    assert len(view.strongest(2, 1000)) == len(weights)
    assert not len(view.strongest(3, 4))


@pytest.mark.parametrize("layers", [2, 5])
def test_influence_flows_one_way_and_no_two_components_share_a_place(layers):
    places = film(xr.DataTree(random_film(layers=layers, heads=3)), "induction", "zero").layout
    assert (places.depth[places.source] < places.depth[places.target]).all()
    assert len(set(zip(places.depth, places.height, strict=True))) == len(places.component)
    for column in set(places.depth):
        assert places.height[places.depth == column].sum() == 0


def test_where_heads_reach_their_mlp_it_stands_further_on():
    dataset = random_film()
    dataset["influence"].loc[{"source": "L0.H0", "target": "L0.MLP"}] = 0.5
    places = film(xr.DataTree(dataset), "induction", "zero").layout
    assert places.depth[places.component.index("L0.MLP")] == 0.5
    assert (places.depth[places.source] < places.depth[places.target]).all()


def test_the_heatmap_is_the_matrix(root, tree):
    for number, name in enumerate(NAMES):
        matrix = film(tree, TASK, ABLATION).matrix(number)
        cell = root.sel(task=TASK, ablation=ABLATION, checkpoint=name)
        np.testing.assert_array_equal(matrix, cell["influence"].astype(float))


def test_readouts_have_gaps_where_checkpoints_do_not_count(root, tree):
    view = readouts(tree)
    for t, task in enumerate(view.task):
        for r, readout in enumerate(view.readout):
            values = root["readout_value"].sel(task=task, readout=readout).values
            for number in range(len(NAMES)):
                if number in (3, 5):
                    assert np.isnan(view.value[t, r, number])
                else:
                    assert view.value[t, r, number] == values[number]


def test_the_steepest_rise_skips_gaps(root):
    dataset = root.copy(deep=True)
    values = [0.1, 0.1, 0.2, np.nan, 0.9, 0.0, 0.95]
    dataset["readout_value"].loc[{"task": TASK, "readout": "accuracy"}] = values
    rise = steepest_rise(dataset, TASK, "accuracy")
    assert rise == (8, 32)
    dataset["readout_value"][:] = 1.0
    assert steepest_rise(dataset, TASK, "accuracy") is None


@pytest.mark.parametrize("place", [0, 1])
def test_the_steepest_rise_is_that_of_the_task(root, place):
    dataset = root.copy(deep=True)
    dataset["readout_value"][:] = 1.0
    task = str(dataset["task"].values[place])
    dataset["readout_value"].loc[{"task": task, "readout": "accuracy", "checkpoint": NAMES[0]}] = 0
    assert steepest_rise(dataset, task, "accuracy") is not None
    assert steepest_rise(dataset, str(dataset["task"].values[1 - place]), "accuracy") is None


def test_the_task_of_interest_is_induction_if_it_is_there(root):
    assert task_of_interest(root) == "induction"
    assert task_of_interest(root.sel(task=[TASK])) == TASK


def test_metrics_stand_beside_their_null_model(tree):
    names = metric_names(tree)
    assert {"gini", "turnover"} <= set(names)
    assert not {"in_strength", "recurrence"} & set(names)
    at = {"task": TASK, "ablation": ABLATION}
    values = metric(tree, "modularity", TASK, ABLATION)
    assert (values.null, values.draws) == ("strengths", 3)
    nulls = tree["nulls/modularity"].sel(at)
    np.testing.assert_array_equal(values.value, tree["metrics/modularity"].sel(at))
    np.testing.assert_array_equal(values.mean, nulls.sel(statistic="mean").astype(float))
    lower, upper = values.band
    np.testing.assert_allclose(
        upper - lower, 4 * nulls.sel(statistic="standard_deviation").values, rtol=1e-6
    )


def test_without_null_models_there_is_no_band(root):
    groups = derived(root, None, NullDraws(0, 0, 1, quiet))
    values = metric(xr.DataTree.from_dict({"/": root, **groups}), "gini", TASK, ABLATION)
    assert (values.null, values.draws) == ("", 0)
    assert np.isnan(values.band).all()


def test_recurrence_is_symmetric_with_gaps(tree):
    view = recurrence(tree, TASK, ABLATION)
    assert not isinstance(view, Missing)
    np.testing.assert_array_equal(view.values, view.values.T)
    assert np.isnan(view.values[3]).all()
    assert view.values[1, 1] == 1


@pytest.mark.parametrize("role", ["spreader", "gatherer"])
def test_ranks_and_who_is_foremost(tree, role):
    view = bump(tree, role, TASK, ABLATION)
    assert not isinstance(view, Missing)
    side = "source" if role == "spreader" else "target"
    means = {}
    for number, name in enumerate(view.component):
        at = {"task": TASK, "ablation": ABLATION, side: name}
        ranks = tree["roles"].to_dataset()[f"{role}_rank"].sel(at).values
        np.testing.assert_array_equal(view.rank[:, number], ranks)
        late = ranks[len(ranks) // 2 :]
        if np.isfinite(late).any():
            means[number] = np.mean(late[np.isfinite(late)])
    assert list(view.foremost(100)) == sorted(means, key=lambda number: means[number])
    assert list(view.foremost(2)) == list(view.foremost(100))[:2]


def test_effects_are_those_of_the_readout(root, tree):
    view = effects(tree, TASK, ABLATION)
    cell = root.sel(task=TASK, ablation=ABLATION, readout="logit_difference")
    np.testing.assert_array_equal(view.effect, cell["readout_effect"].astype(float))


def test_phases_are_those_of_the_group(tree):
    bands = phases(tree, TASK, ABLATION)
    assert not isinstance(bands, Missing)
    cell = tree["phases"].to_dataset().sel(task=TASK, ablation=ABLATION)
    assert bands.count == cell["count"]
    assert len(bands.step) == bands.count - 1 == len(bands.lower) == len(bands.upper)
    assert len(bands.name) == bands.count


def test_boundaries_have_their_intervals(tree):
    bands = phases(with_phases(tree), TASK, ABLATION)
    assert not isinstance(bands, Missing)
    assert (list(bands.step), list(bands.lower), list(bands.upper)) == ([8, 64], [1, 32], [16, 128])


def test_claims_are_all_of_the_group(tree):
    verdicts = claims(tree)
    assert not isinstance(verdicts, Missing)
    assert len(verdicts) == 8
    assert {item.verdict.label for item in verdicts} == set(tree["claims/verdict"].values.flat)


def test_agreement_is_the_mean_rank_correlation_over_usable_checkpoints(root, bare):
    view = agreement(bare)
    for t, task in enumerate(view.task):
        assert (np.diag(view.mean[t]) == 1).all()
        rhos = []
        for number in (0, 1, 2, 4, 6):
            pair = [
                root["influence"].sel(task=task, ablation=ablation)[number].values.ravel()
                for ablation in view.ablation
            ]
            rhos.append(spearmanr(*(values[~np.isnan(values)] for values in pair)).statistic)
        assert view.mean[t, 0, 1] == view.mean[t, 1, 0] == pytest.approx(np.mean(rhos))
        assert np.isnan(view.low[t, 0, 1])  # five checkpoints are too few


@pytest.mark.parametrize("in_file", [False, True])
def test_methods_are_scored_on_random_circuits_only(root, in_file):
    dataset = comparison_dataset()
    if in_file:
        table = methods(xr.DataTree.from_dict({"/": root, "/comparison": dataset}))
    else:
        table = methods(xr.DataTree(root), dataset)
    assert not isinstance(table, Missing)
    assert table.circuits == ("dag_one", "dag_two")
    zero, mean = table.method
    expected = dataset["auroc"].values[:2, 1, 0, 1].mean()
    assert mean.recovery["realistic", "direct"][0] == pytest.approx(expected)
    assert (zero.passed, zero.failed, mean.passed, mean.failed) == (("gate",), (), (), ("gate",))
    assert table.left_out == {"noise": "is drawn"}
    assert {circuit: values for (circuit, _), values in table.failures.items()} == {
        "gate": ["mean 0.1"]
    }
    assert zero.split_half[0] == 0.9
    assert np.isnan([*zero.split_half[1:], *mean.split_half, zero.over_draws[0]]).all()


def test_a_comparison_of_a_trajectory_alone_has_no_recovery(root):
    table = methods(xr.DataTree(root), comparison_dataset()[["split_half_mean"]])
    assert not isinstance(table, Missing)
    assert table.circuits == ()
    assert table.method[0].recovery == {}
    assert table.method[0].passed == ()
    assert table.failures == {}


def test_provenance_lists_what_is_left_out_and_survives_what_is_no_json(root):
    dataset = root.assign_attrs(
        history="cntbench run x", spec='{"b": 1}', library_versions="<none>"
    )
    view = provenance(xr.DataTree(dataset))
    assert view.command == "cntbench run x"
    assert view.spec == '{\n  "b": 1\n}'
    assert view.versions == {}
    assert [(item.checkpoint, item.status) for item in view.left_out] == [
        ("step16", "failed"),
        ("step64", "duplicate"),
    ]
    assert "spec" not in view.attributes
    assert "normalisation" in view.attributes


@pytest.mark.parametrize(
    ("view", "command"),
    [
        (metric_names, "cntbench run"),
        (lambda tree: recurrence(tree, TASK, ABLATION), "cntbench run"),
        (lambda tree: bump(tree, "spreader", TASK, ABLATION), "cntbench run"),
        (lambda tree: phases(tree, TASK, ABLATION), "cntbench claims RESULTS"),
        (claims, "cntbench claims RESULTS"),
        (methods, "cntbench report RESULTS --comparison FILE"),
    ],
)
def test_what_is_missing_says_how_it_is_made(bare, view, command):
    missing = view(bare)
    assert isinstance(missing, Missing)
    assert command in missing.command


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=20, unique=True).map(sorted))
def test_the_step_axis_keeps_the_order_and_has_room_for_step_0(steps):
    axis = step_axis(steps)
    places = axis.place(steps)
    assert np.isfinite(places).all()
    assert (np.diff(places) > 0).all()
    positive = np.array(steps)[np.array(steps) > 0]
    np.testing.assert_allclose(axis.place(positive), np.log10(positive))
    assert list(axis.ticks) == sorted(set(axis.ticks))
    if steps[0] == 0:
        assert axis.ticks[0] == 0


def test_methods_are_listed_by_rank_then_score_then_cost_and_rows_by_mean_rank():
    nan = np.nan
    names = ["zero", "mean", "noise", "other", "absent"]
    case = comparison_dataset().isel(ablation=[0, 1, 0, 1, 0]).assign_coords(ablation=names)
    case["rank"].values[:] = [[2, 1, 1, 1, nan], [1, 5, 2, nan, nan]]
    case["score"].values[:] = [[0.9, 0.5, 0.8, 0.5, nan], [0.9, 0.5, 0.8, nan, nan]]
    case["forward_passes"].values[:] = [1, 4, 5, 3, 9]
    case["pareto"].values[:] = [[0, 0, 1, 1, 0], [1, 0, 0, 0, 0]]
    case["unscored"].values[:] = [["", "", "", "", "it is new."], ["", "", "", "off", "it is new"]]
    ranking = verdict(case)
    direct, readout = ranking.ranking
    assert [m.ablation for m in direct.method] == ["noise", "other", "mean", "zero"]
    assert [m.ablation for m in readout.method] == ["zero", "noise", "mean"]
    assert [(m.rank, m.shared, m.pareto) for m in direct.method] == [
        (1, True, True), (1, True, True), (1, True, False), (2, False, False),
    ]  # fmt: skip
    assert [m.passes for m in direct.method] == [5, 3, 4, 1]
    assert [(name, passes) for name, _, passes in ranking.rows] == [
        ("other", 3), ("noise", 5), ("zero", 1), ("mean", 4),
    ]  # fmt: skip
    places = {name: [place and place.rank for place in row] for name, row, _ in ranking.rows}
    assert places == {"noise": [1, 2], "other": [1, None], "mean": [1, 5], "zero": [2, 1]}
    assert direct.absent == (f"Not ranked for {direct.title}: absent (it is new).",)
    assert readout.absent == (
        f"Not ranked for {readout.title}: other (off).",
        f"Not ranked for {readout.title}: absent (it is new).",
    )
