"""Results as graphs of EAP-IG and MIB: read back, every number is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from support.eap import edge_names, graph, write_graph
from support.films import random_film
from support.runs import quiet

from cntbench.components import components, feasible
from cntbench.errors import CntbenchError
from cntbench.exchange.eap_import import Labels, import_graphs, read_graphs
from cntbench.exchange.export import chosen, export


def read_back(path, **labels):
    graphs = read_graphs([f"{path}@8"])
    return import_graphs(graphs, Labels(**labels), (), draws=0, jobs=1, progress=quiet)


def one_cell(film, **labels):
    cell = {"task": ["induction"], "ablation": ["mean"], "checkpoint": ["step8"], **labels}
    return chosen(xr.DataTree(film), cell)


def test_effects_on_the_readout_come_back(tmp_path):
    tree = one_cell(random_film())
    export(tree, tmp_path / "g.json", None)
    back = read_back(tmp_path / "g.json", negate=True)
    for name in ("edge_effect", "readout_effect"):
        there = {"readout": ["logit_difference"]} if name == "readout_effect" else {}
        ours, theirs = tree[name].sel(there).values, back[name].sel(there).values
        np.testing.assert_allclose(theirs, ours, rtol=1e-6)


def test_influence_of_methods_that_observe_targets_comes_back(tmp_path):
    film = random_film()
    film["edge_effect"][:] = np.nan
    film["readout_value"][:] = 2.0
    tree = one_cell(film)
    export(tree, tmp_path / "g.json", None)
    back = read_back(tmp_path / "g.json")
    np.testing.assert_allclose(back["influence"].values, tree["influence"].values, rtol=1e-6)
    effect = back["readout_effect"].sel(readout="logit_difference")
    expected = abs(tree["readout_effect"].sel(readout="logit_difference")) / 2
    np.testing.assert_allclose(effect.values, expected.values, rtol=1e-6)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        (slice(1, None), slice(None)),
        (slice(-1), slice(None)),  # all but the last MLP, from which only the logits are reached
        (slice(None), slice(4, None)),
        (slice(2, 3), slice(4, 5)),
    ],
)
def test_a_graph_of_which_edges_were_not_measured_is_refused(
    tmp_path, signed, parallel, sources, targets
):
    """Edges without a score would rank above all others."""
    film = random_film()
    film["edge_effect"] = film["edge_effect"] if signed else film["edge_effect"] * np.nan
    reaches = feasible(components(2, 2, parallel=parallel))
    film.attrs["feasible_edges"] = int(reaches.sum())
    edges, ablated = np.zeros((6, 6), bool), np.zeros(6, bool)
    edges[sources, targets] = ablated[sources] = True
    for name in ("influence", "edge_effect"):
        film[name] = film[name].where(xr.DataArray(edges, dims=("source", "target")))
    film["readout_effect"] = film["readout_effect"].where(xr.DataArray(ablated, dims="source"))
    measured = np.isfinite(one_cell(film)["influence"].values).reshape(6, 6)
    lacking = (reaches & ~measured).sum() + (~ablated).sum()
    for where, name in ((tmp_path / "g.json", None), (tmp_path / "graphs", "eap")):
        with pytest.raises(CntbenchError, match=f"every edge, and {lacking} were not measured"):
            export(one_cell(film), where, name)


def test_a_selection_of_components_has_no_graph(tmp_path):
    film = random_film()
    for left_out in film["source"].values[:-1]:
        some = [name for name in film["source"].values if name != left_out]
        with pytest.raises(CntbenchError, match="the selection lacks some"):
            export(one_cell(film.sel(source=some, target=some)), tmp_path / "g.json", None)


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_no_change_is_relative_to_a_readout_of_zero(tmp_path, value):
    film = random_film()
    film["edge_effect"][:] = np.nan
    film["readout_value"][:] = value
    tree = one_cell(film)
    export(tree, tmp_path / "g.json", None)
    [graph] = read_graphs([f"{tmp_path / 'g.json'}@8"]).values()
    scores = {edge.score for edge in graph.edges.values() if edge.target is None}
    assert scores == {float(tree["influence"].max())}


@pytest.mark.parametrize("parallel", [False, True])
def test_what_was_imported_is_written_as_it_was(tmp_path, parallel):
    """Also of several files, of which one does not name an edge."""
    contents = {f"step{step}": graph(3, 2, parallel=parallel, seed=step) for step in (3, 8)}
    del contents["step8"]["edges"]["m0->m1"]
    names = [str(write_graph(tmp_path / f"{n}.json", text)) for n, text in contents.items()]
    tree = import_graphs(read_graphs(names), Labels(), (), draws=0, jobs=1, progress=quiet)
    for path in export(tree, tmp_path / "again", "eap"):
        again, content = json.loads(path.read_text()), contents.pop(path.stem)
        assert again["edges"] == content["edges"]
        assert again["cfg"].items() <= content["cfg"].items()
        assert list(again["nodes"]) == list(content["nodes"])
    assert not contents


def test_every_edge_of_the_architecture_is_named(tmp_path):
    tree = one_cell(random_film())
    export(tree, tmp_path / "g.json", None)
    content = json.loads((tmp_path / "g.json").read_text())
    shape = content["cfg"]
    names = edge_names(shape["n_layers"], shape["n_heads"], parallel=shape["parallel_attn_mlp"])
    assert set(content["edges"]) == set(names)
    scores = {name: edge["score"] for name, edge in content["edges"].items()}
    inputs = [score for name, score in scores.items() if name.startswith("input->")]
    assert inputs == [max(map(abs, scores.values()))] * len(inputs)


def test_a_folder_has_a_graph_for_each_cell(tmp_path):
    tree = xr.DataTree(random_film())
    files = export(tree, tmp_path / "graphs", "eap")
    assert len(files) == 2 * 3
    assert tmp_path / "graphs" / "induction" / "mean" / "step8.json" in files
    with pytest.raises(CntbenchError, match="holds one graph, but the selection has 6"):
        export(tree, tmp_path / "g.json", None)
