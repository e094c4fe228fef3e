"""The accessor: what it says is what networkx and plain loops find in the dataset."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from support.films import random_film
from support.runs import quiet

from cntbench.analysis.derived import NullDraws, derived
from cntbench.dynamics.roles import strength
from cntbench.errors import CheckpointError, CntbenchError, SpecError, StorageError
from cntbench.metrics._film import film_metrics
from cntbench.plugins import room
from cntbench.results.film import usable

CELL = {"task": "induction", "ablation": "mean", "checkpoint": "step8"}


@pytest.fixture(scope="module")
def film() -> xr.Dataset:
    return random_film(tasks=("induction", "bigram"))


@pytest.fixture(scope="module")
def tree(film) -> xr.DataTree:
    groups = derived(film, None, NullDraws(0, 3, 1, quiet))
    return xr.DataTree.from_dict({"/": film, **groups})


def test_a_graph_has_the_feasible_edges_with_their_numbers(film):
    graph = film.cnt.graph(**CELL)
    cell = film.sel(CELL)
    assert isinstance(graph, nx.DiGraph)
    assert list(graph) == list(film["source"].values)
    for source in film["source"].values:
        for target in film["target"].values:
            edge = cell.sel(source=source, target=target)
            assert graph.has_edge(source, target) == bool(edge["influence"].notnull())
            if graph.has_edge(source, target):
                assert graph.edges[source, target] == {
                    "weight": edge["influence"].item(),
                    "standard_error": edge["influence_se"].item(),
                    "effect": edge["edge_effect"].item(),
                    "effect_standard_error": edge["edge_effect_se"].item(),
                }
    assert graph.number_of_edges() == 9


def test_numbers_of_edges_that_are_not_defined_are_left_out(film):
    without = film.assign(edge_effect=film["edge_effect"] * np.nan).drop_vars("edge_effect_se")
    for *_, numbers in without.cnt.graph(**CELL).edges(data=True):
        assert set(numbers) == {"weight", "standard_error"}


def test_a_feasible_edge_without_influence_is_an_edge_of_weight_0(film):
    silent = film.assign(influence=film["influence"] * 0)
    graph = silent.cnt.graph(**CELL)
    assert graph.number_of_edges() == 9
    assert set(nx.get_edge_attributes(graph, "weight").values()) == {0.0}


def test_nodes_say_what_they_are_and_what_was_measured_of_them(film):
    graph = film.cnt.graph(**CELL)
    cell = film.sel(CELL)
    for name, node in graph.nodes(data=True):
        here = cell.sel(source=name)
        assert node["layer"] == here["source_layer"].item()
        assert node["kind"] == here["source_kind"].item()
        assert node.get("head", -1) == here["source_head"].item()
        effect = here["readout_effect"].sel(readout="accuracy").item()
        assert node["accuracy_effect"] == effect
        assert ("prefix_matching" in node) == (node["kind"] == "head")
    weights = cell["influence"].values.astype(float)
    for role in ("spreader", "gatherer"):
        strengths = strength(weights, film["source_layer"].values, role)
        results = [node.get(f"{role}_strength", np.nan) for _, node in graph.nodes(data=True)]
        np.testing.assert_array_equal(results, strengths)


def test_a_graph_says_which_moment_it_is_and_how_to_read_it(film):
    about = film.cnt.graph(**CELL).graph
    assert {name: about[name] for name in CELL} == CELL
    assert about["step"] == 8
    assert about["revision"] == film["revision"].sel(checkpoint="step8").item()
    assert about["sign_convention"] == film.attrs["sign_convention"]


def test_graphs_can_be_written_as_graphml(film, tmp_path):
    graph = film.cnt.graph(**CELL)
    nx.write_graphml(graph, tmp_path / "graph.graphml")
    again = nx.read_graphml(tmp_path / "graph.graphml")
    assert dict(again.nodes(data=True)) == dict(graph.nodes(data=True))


def by_step(film: xr.Dataset) -> xr.Dataset:
    return film.swap_dims(checkpoint="step")


@pytest.mark.parametrize(
    "part",
    [
        lambda ds: ds.sel(CELL),
        lambda ds: ds.sel(task="induction").sel(ablation=["mean"], checkpoint=["step8"]),
        lambda ds: (
            ds.sel(task="induction", ablation="mean").swap_dims(checkpoint="step").sel(step=8)
        ),
        lambda ds: ds.sel(CELL)[["influence", "influence_se", "status", "status_reason"]],
        lambda ds: (
            ds.sel(CELL, readout="accuracy") if False else ds.sel(CELL).sel(readout="accuracy")
        ),
        lambda ds: ds.transpose(..., "task", "checkpoint").sel(CELL),
    ],
    ids=["one cell", "lists", "by step", "few variables", "one readout", "transposed"],
)
def test_a_part_of_a_result_is_as_good_as_the_whole(film, part):
    whole, graph = film.cnt.graph(**CELL), part(film).cnt.graph()
    assert list(graph.nodes) == list(whole.nodes)
    weights = nx.get_edge_attributes(whole, "weight")
    assert nx.get_edge_attributes(graph, "weight") == weights
    assert {n: graph.graph[n] for n in CELL} == CELL


def test_a_moment_can_be_named_by_its_step(film):
    graph = film.cnt.graph(task="bigram", ablation="zero", step=100)
    assert graph.graph["checkpoint"] == "step100"


def test_some_components_are_a_graph_of_those(film):
    part = film.sel(CELL).sel(source=["L0.MLP", "L0.H1"], target=["L1.MLP", "L1.H0"])
    graph = part.cnt.graph()
    assert list(graph) == ["L0.H1", "L0.MLP", "L1.H0", "L1.MLP"]
    assert graph.number_of_edges() == 4
    assert "spreader_strength" not in graph.nodes["L0.MLP"]
    assert film.cnt.graph(**CELL).subgraph(graph).edges == graph.edges


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"task": "inducton"}, "unknown task 'inducton'\nDid you mean 'induction'?"),
        ({"task": "induction"}, "the dataset has 2 ablations\nName one: zero, mean."),
        ({"checkpoint": None}, r"3 checkpoints\nName one \(or its step=\): step0, step8, step100."),
        ({"checkpoint": None, "step": 9}, "no checkpoint at step 9\nNearest: 0, 8."),
        ({"step": 8}, "checkpoint 'step8' and step 8 are both named"),
    ],
)
def test_a_label_that_is_not_there_is_told_from_those_that_are(film, chosen, message):
    chosen = {**CELL, **chosen} if "task" not in chosen else chosen
    with pytest.raises(CntbenchError, match=message):
        film.cnt.graph(**chosen)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ds: ds.drop_vars("influence_se"), "variable 'influence_se' is missing"),
        (lambda ds: ds.drop_vars("source_layer"), "coordinate 'source_layer' is missing"),
        (lambda ds: ds.sel(task="induction", drop=True), "coordinate 'task' is missing"),
        (lambda ds: ds.sel(source="L0.H0"), "has one source only, 'L0.H0'"),
        (lambda ds: ds.expand_dims(seed=[0, 1]), "variable 'influence' has a dim 'seed'"),
    ],
)
def test_what_lacks_something_says_what(film, spoil, message):
    with pytest.raises(StorageError, match=message):
        spoil(film).cnt.graph(**CELL)


def test_a_moment_that_was_not_measured_has_no_graph(film):
    failed = film.copy(deep=True)
    failed["status"].loc[CELL] = "failed"
    failed["status_reason"].loc[CELL] = "a NaN in the weights"
    with pytest.raises(CheckpointError, match="'step8' was not measured: failed, a NaN"):
        failed.cnt.graph(**CELL)


def test_feasible_edges_are_a_mask(film):
    mask = film.cnt.feasible
    assert mask.dims == ("source", "target")
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, film["influence"][0, 0, 0].notnull())
    assert film.sel(CELL).cnt.feasible.equals(mask)
    lost = film.assign(influence=film["influence"] * np.nan)
    with pytest.raises(StorageError, match="no checkpoint that was measured"):
        assert lost.cnt.feasible is None


def test_every_metric_is_that_of_a_run(tree):
    for name in room("metric"):
        values = tree.cnt.metric(name)
        np.testing.assert_array_equal(values, tree["metrics"][name])
        assert values.dims == tree["metrics"][name].dims
        assert values.attrs == tree["metrics"][name].attrs
        assert "step" in values.coords


def test_metrics_of_a_part_have_its_dims(film):
    whole = film_metrics(film["influence"], usable(film), ["gini", "turnover", "in_strength"])
    at = {"task": 1, "ablation": 0}
    for name in whole:
        values = film.isel(at).cnt.metric(name)
        np.testing.assert_array_equal(values, whole[name].isel(at))
        assert values["task"].item() == "bigram"
    alone = film.sel(CELL).cnt.metric("gini")
    assert alone.shape == ()
    values = by_step(film).cnt.metric("gini")
    assert values.dims == ("task", "ablation", "step")
    assert values.sel(step=8, task="induction", ablation="mean") == alone


def test_a_metric_is_what_networkx_finds_in_the_graph(film):
    graph = film.cnt.graph(**CELL)
    values = film.sel(CELL).cnt.metric("in_strength").to_series()
    assert values.to_dict() == pytest.approx(dict(graph.in_degree(weight="weight")))


def test_wrong_names_of_metrics_and_backbones_have_a_nearest_match(film):
    for gini, disparity in (("ginny", "disparty"), (["gini"], ["disparity"])):
        with pytest.raises(SpecError, match="Did you mean 'gini'"):
            film.cnt.metric(gini)
        with pytest.raises(SpecError, match="Did you mean 'disparity'"):
            film.cnt.backbone(disparity)
    with pytest.raises(SpecError, match="unknown metric 'None'"):
        film.cnt.metric(None)


def test_a_backbone_is_a_mask_of_its_edges(film):
    kept = film.cnt.backbone("top_k")
    assert kept.dims == film["influence"].dims
    for cell in kept.stack(cell=("task", "ablation", "checkpoint")).transpose("cell", ...):
        received = film.cnt.feasible.sum("source")
        np.testing.assert_array_equal(cell.sum("source"), np.minimum(received, 3))
    assert film.sel(CELL).cnt.backbone("top_k").dims == ("source", "target")


def test_whole_graphs_are_needed_for_metrics(film):
    with pytest.raises(StorageError, match="has different sources and targets"):
        film.isel(source=[0, 1]).cnt.metric("gini")


def test_metrics_are_of_weights_in_the_order_of_training(film):
    signed = film.assign(influence=-film["influence"])
    for needs_weights in (
        lambda: signed.cnt.metric("gini"),
        lambda: signed.cnt.backbone("top_k"),
        signed.cnt.roles,
    ):
        with pytest.raises(StorageError, match="'influence' has negative numbers"):
            needs_weights()
    for turned in (film.isel(checkpoint=slice(None, None, -1)), film.isel(checkpoint=[0, 0, 1])):
        with pytest.raises(StorageError, match="'step' does not rise"):
            turned.cnt.metric("spreader_change")
        turned.cnt.metric("gini")  # which is about one moment


def test_roles_are_those_of_a_run(tree, film):
    kept, result = tree["roles"], film.cnt.roles()
    assert {name.split("_", 1)[1] for name in result} == {
        *("strength", "strength_se", "strength_lower", "strength_upper", "rank", "top", "move")
    }
    for name in result:
        np.testing.assert_array_equal(result[name], kept[name])
        assert result[name].dims == kept[name].dims
    assert "spreader_reconfigures" in tree.cnt.roles()
    assert film.sel(CELL).cnt.roles()["gatherer_rank"].dims == ("target",)


def test_intervals_of_roles_are_over_the_prompts_that_were_measured(film):
    dims = ("task", "checkpoint")
    counted = film.assign(prompts_measured=(dims, np.full([film.sizes[dim] for dim in dims], 3.0)))
    roles = counted.cnt.roles()
    strength, error = roles["spreader_strength"], roles["spreader_strength_se"]
    assert (error > 0).any()
    np.testing.assert_allclose(
        roles["spreader_strength_upper"], strength + 4.302653 * error, rtol=1e-5
    )


def test_a_dataset_is_not_changed_by_what_it_is_asked(film):
    before = film.copy(deep=True)
    film.cnt.graph(**CELL)
    film.cnt.metric("gini")
    film.cnt.roles()
    assert film.identical(before)


@pytest.mark.parametrize("dim", ["task", "ablation", "checkpoint", "source", "target"])
def test_a_selection_of_nothing_is_refused(film, dim):
    nothing = film.isel({dim: []})
    drawn = ("film", "heatmap", "circuit", "bump", "recurrence")
    calls = [nothing.cnt.graph, nothing.cnt.roles, lambda: nothing.cnt.metric("gini")]
    for call in (*calls, *(getattr(nothing.cnt.plot, name) for name in drawn)):
        with pytest.raises(StorageError) as caught:
            call()
        assert str(caught.value).startswith(f"the dataset: has no {dim}")
    assert nothing._repr_html_()


@pytest.mark.parametrize("name", ["film", "heatmap", "circuit"])
def test_figures_of_graphs_have_the_same_sources_and_targets(film, name):
    part = film.isel(source=slice(0, 3))
    with pytest.raises(StorageError) as caught:
        getattr(part.cnt.plot, name)()
    assert "different sources and targets" in str(caught.value)
