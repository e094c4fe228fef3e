"""Groups that are derived from a film: where numbers stand, and what they depend on."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from scipy.stats import rankdata
from support.films import random_film
from support.runs import quiet

from cntbench.analysis.derived import NullDraws, derived
from cntbench.dynamics import null_summary as module
from cntbench.dynamics.film import film_of
from cntbench.dynamics.reconfiguration import WINDOW, reversed_share
from cntbench.dynamics.role_summary import component_roles
from cntbench.dynamics.roles import ROLES, strength
from cntbench.plugins import room
from cntbench.results.film import untrained_group, usable
from cntbench.results.storage import open_results, write_results

NAMES = [f"step{8 * i}" for i in range(6)]


def groups(root: xr.Dataset, untrained: xr.Dataset | None = None, **options: object):
    earlier = options.pop("earlier", None)
    draws = NullDraws(**{"seed": 0, "count": 9, "jobs": 1, "progress": quiet, **options})
    return derived(root, untrained, draws, earlier=earlier)


@pytest.fixture(scope="module")
def root() -> xr.Dataset:
    return random_film(names=NAMES, tasks=("induction", "bigram"), layers=3)


@pytest.fixture(scope="module")
def whole(root) -> dict[str, xr.Dataset]:
    return groups(root)


def test_every_metric_with_a_null_model_stands_beside_it(root, whole):
    for name, metric in whole["metrics"].data_vars.items():
        if "null_model" not in metric.attrs:
            assert name not in whole["nulls"]
            continue
        nulls = whole["nulls"][name]
        assert nulls.dims == ("statistic", *metric.dims)
        assert nulls.attrs["null_model"] == metric.attrs["null_model"]
        assert nulls.attrs["units"] == metric.attrs["units"]
        drawn = nulls.sel(statistic="mean")
        if metric.attrs["null_model"] == "untrained":
            assert nulls.isnull().all()
            assert nulls.attrs["draws"] == 0
        else:
            assert nulls.attrs["draws"] == 9
            np.testing.assert_array_equal(drawn.isnull() & metric.notnull(), False)


def test_a_null_model_with_few_draws_says_how_many(root, monkeypatch):
    """As one of a user's folder, which lists all its draws."""
    null = room("null model")["layer_pairs"].module
    few = lambda film: np.stack([null.draw(film, np.random.default_rng(i)) for i in range(4)])  # noqa: E731
    monkeypatch.setattr(null, "everything", few, raising=False)
    drawn = groups(root)["nulls"]
    assert drawn["efficiency"].attrs["draws"] == 4
    assert drawn["turnover"].attrs["draws"] == 9
    assert drawn["efficiency"].sel(statistic="p_value").min() >= np.float32(1 / 5)


def test_the_statistic_is_of_the_metric(whole):
    metric, nulls = whole["metrics"]["efficiency"], whole["nulls"]["efficiency"]
    mean, deviation, z_score = (
        nulls.sel(statistic=name) for name in ("mean", "standard_deviation", "z_score")
    )
    np.testing.assert_allclose((metric - mean) / deviation, z_score, rtol=1e-3, atol=1e-3)


def test_roles_stand_where_they_belong(root, whole):
    for index in ({"task": i, "ablation": j} for i, j in np.ndindex(2, 2)):
        film = film_of(root.isel(index))
        for role in ROLES:
            part = whole["roles"][f"{role}_strength"].isel(index)
            np.testing.assert_allclose(part, strength(film.weights, film.layer, role), rtol=1e-5)
            lower = whole["roles"][f"{role}_strength_lower"].isel(index)
            upper = whole["roles"][f"{role}_strength_upper"].isel(index)
            assert ((lower < part) & (part < upper) | part.isnull()).all()


def test_gatekeepers_lie_on_more_paths_than_their_layers_explain(root, whole):
    roles, index = whole["roles"], {"task": 1, "ablation": 0}
    mean = whole["nulls"]["betweenness"].sel(statistic="mean").isel(index)
    for i in range(len(NAMES)):
        graph = nx.DiGraph()
        weights = root["influence"].isel(index).isel(checkpoint=i)
        for source in weights["source"].values:
            for target in weights["target"].values:
                weight = float(weights.sel(source=source, target=target))
                if weight > 0:
                    graph.add_edge(source, target, length=1 / weight)
        passing = nx.betweenness_centrality(graph, weight="length")
        expected = {name: passing[name] - float(mean[i].sel(component=name)) for name in passing}
        inner = [name for name in passing if graph.in_degree(name) and graph.out_degree(name)]
        part = roles["gatekeeper_strength"].isel(index).isel(checkpoint=i)
        for name in map(str, part["component"].values):
            if name in inner:
                np.testing.assert_allclose(part.sel(component=name), expected[name], atol=1e-6)
            else:
                assert np.isnan(part.sel(component=name))
        places = rankdata([-round(expected[name], 6) for name in inner])
        ranks, members = (
            roles[f"gatekeeper_{name}"].isel(index).isel(checkpoint=i).sel(component=inner)
            for name in ("rank", "top")
        )
        np.testing.assert_array_equal(ranks, places)
        last = np.sort(places)[-(-len(inner) // 4) - 1]
        above = [expected[name] > 1e-9 for name in inner]
        np.testing.assert_array_equal(members, (places <= last) & above)


def test_gatekeepers_change_between_means_over_windows(whole):
    index = {"task": 1, "ablation": 0}
    strengths = whole["roles"]["gatekeeper_strength"].isel(index).values.astype(float)
    part = whole["roles"]["gatekeeper_change"].isel(index).values
    assert np.isnan(part[0])
    for at in range(1, len(NAMES)):
        before = strengths[max(0, at - WINDOW) : at].mean(axis=0)
        after = strengths[at : at + WINDOW].mean(axis=0)
        assert part[at] == pytest.approx(float(reversed_share(before, after)))


def test_intervals_of_strengths_end_at_zero(root):
    weights = root["influence"].values[0, 0].astype(float)
    result = component_roles(weights, weights, root["source_layer"].values, np.array(3.0))
    lower, upper, centre, error = (
        result[f"spreader_{name}"]
        for name in ("strength_lower", "strength_upper", "strength", "strength_se")
    )
    np.testing.assert_allclose(lower, np.maximum(centre - 4.302653 * error, 0), rtol=1e-5)
    np.testing.assert_allclose(upper, centre + 4.302653 * error, rtol=1e-5)
    assert (lower == 0).any()


def test_without_draws_there_are_no_gatekeepers(root):
    assert not any("gatekeeper" in str(name) for name in groups(root, count=0)["roles"])


def test_checkpoints_that_do_not_count_are_gaps_and_are_stepped_over(root):
    gappy = root.copy(deep=True)
    gappy["status"][:, :, 2] = "failed"
    gappy["influence"][:, :, 2] = np.nan
    gappy["influence_se"][:, :, 2] = np.nan
    tree = groups(gappy)
    kept = groups(root.isel(checkpoint=[0, 1, 3, 4, 5]))
    assert list(usable(gappy)) == [True, True, False, True, True, True]
    for group in ("roles", "nulls"):
        for name, values in tree[group].data_vars.items():
            assert values.isel(checkpoint=2).isnull().all()
            at = {"checkpoint": [0, 1, 3, 4, 5]}
            np.testing.assert_array_equal(values.isel(at), kept[group][name], err_msg=name)


def test_a_cell_without_checkpoints_is_a_gap(root, whole):
    gappy = root.copy(deep=True)
    gappy["status"][1, 0] = "failed"
    tree = groups(gappy)
    assert tree["roles"]["spreader_strength"][1, 0].isnull().all()
    assert tree["nulls"]["efficiency"][:, 1, 0].isnull().all()
    np.testing.assert_array_equal(
        tree["nulls"]["efficiency"][:, 0], whole["nulls"]["efficiency"][:, 0]
    )


def test_draws_depend_on_the_cell_and_on_nothing_else(root, whole):
    part = groups(root.isel(task=[1]))
    for group in ("roles", "nulls"):
        for name, values in part[group].data_vars.items():
            expected = whole[group][name].isel(task=[1])
            np.testing.assert_array_equal(values, expected, err_msg=name)
    other = groups(root, seed=1)["nulls"]["efficiency"]
    assert (other.sel(statistic="mean") != whole["nulls"]["efficiency"].sel(statistic="mean")).all()


def test_processes_change_nothing(root, whole):
    tree = groups(root, jobs=2)
    for group in ("roles", "nulls"):
        xr.testing.assert_identical(tree[group], whole[group])


def test_without_draws_there_are_roles_and_no_nulls(root, whole):
    tree = groups(root, count=0)
    assert "nulls" not in tree
    for name in ("spreader_rank", "gatherer_strength_se", "spreader_change"):
        np.testing.assert_array_equal(tree["roles"][name], whole["roles"][name])
    assert tree["roles"]["spreader_change_p_value"].isnull().all()


@pytest.mark.parametrize(
    "change", ["weights", "errors", "untrained", "count", "seed", "code", "none"]
)
def test_an_earlier_result_is_taken_over_if_it_was_made_of_the_same(
    root, whole, change, tmp_path, monkeypatch
):
    path = tmp_path / "results.nc"
    write_results(xr.DataTree.from_dict({"/": root, **whole}), path)
    worked: list[str] = []

    def each(work, parts, jobs):
        worked.append("again")
        return map(work, parts)

    monkeypatch.setattr("cntbench.analysis.derived.parallel_map", each)
    options: dict[str, object] = {"earlier": open_results(path)}
    changed, untrained = root.copy(deep=True), None
    if change == "weights":
        changed["influence"][0, 0, 0, 0, -1] *= 2
    elif change == "errors":
        changed["influence_se"][0, 0, 0, 0, -1] *= 2
    elif change == "untrained":
        untrained = untrained_group({1: root.isel(checkpoint=[0]), 2: root.isel(checkpoint=[1])})
    elif change == "code":
        monkeypatch.setattr("cntbench.analysis.reuse._code", lambda: "of another version")
    elif change != "none":
        options[change] = 8
    tree = groups(changed, untrained, **options)
    assert bool(worked) == (change != "none")
    if change == "none":
        for group in ("roles", "nulls"):
            xr.testing.assert_equal(
                tree[group][[*whole[group]]].reset_coords(drop=True), whole[group]
            )


def test_untrained_models_are_what_metrics_are_held_against(root):
    others = untrained_group({i: root.isel(checkpoint=[i]) for i in range(4)})
    tree = groups(root, others)
    gini = tree["metrics"]["gini"].isel(checkpoint=slice(4))
    nulls = tree["nulls"]["gini"]
    np.testing.assert_allclose(
        nulls.sel(statistic="mean").isel(checkpoint=0), gini.mean("checkpoint"), rtol=1e-6
    )
    assert nulls.attrs["draws"] == 4


def test_without_a_measured_checkpoint_that_is_why_nulls_are_undefined(root):
    failed = root.assign(
        influence=root["influence"] * np.nan, status=xr.full_like(root["status"], "failed")
    )
    for metric in groups(failed)["nulls"].data_vars.values():
        assert metric.attrs["undefined"] == "everywhere: no checkpoint was measured"


def test_thinning_is_said(root, monkeypatch):
    monkeypatch.setattr(module, "EDGES", 1)
    nulls = groups(root)["nulls"]["efficiency"]
    assert "at all but 3 checkpoints" in nulls.attrs["undefined"]
    drawn = nulls.notnull().all(["statistic", "task", "ablation"])
    assert list(np.flatnonzero(drawn)) == [0, 2, 5]
