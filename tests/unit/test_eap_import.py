"""Graphs of EAP become results: every number, and what has no place is said."""

from __future__ import annotations

import re
import warnings

import networkx as nx
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from support.eap import edge_names, graph, write_graph
from support.runs import quiet

from cntbench.components import components, feasible
from cntbench.errors import CntbenchError, CntbenchWarning
from cntbench.exchange.eap_graph import read_eap_graph
from cntbench.exchange.eap_import import Labels, import_graphs, read_graphs
from cntbench.exchange.graph_circuits import graph_scores
from cntbench.results.schema import validate
from cntbench.results.storage import open_results, write_results
from cntbench.views.readouts import steepest_rise


def imported(*paths, draws: int = 0, **labels: object) -> xr.DataTree:
    graphs = read_graphs([str(path) for path in paths])
    return import_graphs(graphs, Labels(**labels), (), draws=draws, jobs=1, progress=quiet)


def ours(name: str) -> str:
    """What a component, the input or the logits are called here."""
    head = re.fullmatch(r"a(\d+)\.h(\d+)", name)
    return f"L{head[1]}.H{head[2]}" if head else re.sub(r"^m(\d+)$", r"L\1.MLP", name)


def summed(content: dict, *, circuit: bool = False) -> dict[tuple[str, str], float]:
    """Scores by source and target, q, k and v together, worked out edge by edge."""
    sums: dict[tuple[str, str], float] = {}
    for name, edge in content["edges"].items():
        source, target = re.sub("<.>", "", name).split("->")
        score = edge["score"] if edge["in_graph"] or not circuit else 0.0
        sums[source, target] = sums.get((source, target), 0.0) + score
    return sums


@pytest.mark.parametrize("circuit", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("scored", [False, True])
def test_every_number_of_the_file_is_in_the_result(tmp_path, parallel, circuit, scored):
    """Without scores, edges of the circuit count as 1 and the others as 0."""
    content = graph(3, 2, parallel=parallel)
    path = write_graph(tmp_path / "g.json", content)
    if not scored:
        edges = content["edges"].items()
        members = {name: {"in_graph": edge["in_graph"]} for name, edge in edges}
        write_graph(path, {**content, "edges": members})
        content["edges"] = {n: {**edge, "score": float(edge["in_graph"])} for n, edge in edges}
    tree = imported(path, circuit=circuit)
    film = tree.to_dataset(inherit=False).squeeze(["task", "ablation", "checkpoint"])
    between = 0
    for (source, target), score in summed(content, circuit=circuit).items():
        if source == "input":
            continue
        if target == "logits":
            effect = film["readout_effect"].sel(readout="logit_difference", source=ours(source))
            assert effect.item() == np.float32(score)
            continue
        at = {"source": ours(source), "target": ours(target)}
        assert film["edge_effect"].sel(at).item() == np.float32(score)
        assert film["influence"].sel(at).item() == abs(np.float32(score))
        between += 1
    assert between == film["influence"].notnull().sum()
    kept = tree["eap"].to_dataset(inherit=False).isel(checkpoint=0)
    assert dict(zip(kept["edge"].values, kept["score"].values, strict=True)) == {
        name: edge["score"] for name, edge in content["edges"].items()
    }
    assert [bool(x) for x in kept["in_graph"]] == [e["in_graph"] for e in content["edges"].values()]


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_circuits_score_every_input_of_a_head_by_itself(tmp_path, parallel, in_graph):
    """An edge of the architecture that is not named has score 0, what is no edge has none."""
    content = graph(2, 2, parallel=parallel)
    for name in ("a0.h0->a1.h1<k>", "m0->m1", "input->m0", "m1->logits"):
        del content["edges"][name]
    read = read_eap_graph(write_graph(tmp_path / "g.json", content))
    scores = graph_scores(read, in_graph=in_graph).values
    names = [ours(name) for name in content["nodes"]]
    sources, targets = names[:-1], names[1:]
    expected = np.full((3, len(sources), len(targets)), np.nan)
    for name in edge_names(2, 2, parallel=parallel):
        source, target = map(ours, re.sub("<.>", "", name).split("->"))
        edge = content["edges"].get(name, {"score": 0, "in_graph": False})
        place = "qkv".find(name[-2]) if name.endswith(">") else 0
        value = edge["in_graph" if in_graph else "score"]
        expected[place, sources.index(source), targets.index(target)] = value
    np.testing.assert_array_equal(scores, expected)


@given(st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_its_edges_are_those_that_the_architecture_has(layers, heads, parallel):
    nodes = components(layers, heads, parallel=parallel)
    reaches = feasible(nodes)
    expected = {(nodes[s].name, nodes[t].name) for s, t in np.argwhere(reaches)}
    named = (re.sub("<.>", "", n).split("->") for n in edge_names(layers, heads, parallel=parallel))
    actual = {(ours(s), ours(t)) for s, t in named if s != "input" and t != "logits"}
    assert actual == expected


def test_metrics_are_those_of_the_same_graph(tmp_path):
    content = graph(3, 3)
    tree = imported(write_graph(tmp_path / "g.json", content))
    plain: nx.DiGraph = nx.DiGraph()
    for (source, target), score in summed(content).items():
        if source != "input" and target != "logits":
            plain.add_edge(ours(source), ours(target), weight=abs(score))
    metrics = tree["metrics"].to_dataset(inherit=True).isel(task=0, ablation=0, checkpoint=0)
    for name, expected in (
        ("out_strength", dict(plain.out_degree(weight="weight"))),
        ("in_strength", dict(plain.in_degree(weight="weight"))),
        ("pagerank", nx.pagerank(plain, tol=1e-12, max_iter=1000)),
    ):
        side = metrics[name].dims[0]
        for component, value in expected.items():
            label = metrics[name].sel({side: component}).item()
            assert label == pytest.approx(value, rel=1e-5, abs=1e-6), (name, component)


def test_the_first_versions_of_the_format_say_the_same(tmp_path):
    old = imported(write_graph(tmp_path / "old.json", graph(old=True)))
    new = imported(write_graph(tmp_path / "new.json", graph()))
    for name in ("influence", "edge_effect", "readout_effect"):
        xr.testing.assert_equal(old[name].drop_vars("revision"), new[name].drop_vars("revision"))


def test_scores_of_a_loss_are_turned(tmp_path):
    path = write_graph(tmp_path / "g.json", graph())
    taken, turned = imported(path), imported(path, negate=True)
    for name in ("edge_effect", "readout_effect"):
        np.testing.assert_array_equal(turned[name], -taken[name])
    np.testing.assert_array_equal(turned["influence"], taken["influence"])
    assert "were turned" in turned.attrs["sign_convention"]


def test_what_is_not_named_is_0_and_counted(tmp_path):
    content = graph()
    for reader in "qkv":
        del content["edges"][f"a0.h0->a1.h1<{reader}>"]
    del content["edges"]["m0->a1.h0<k>"]
    path = write_graph(tmp_path / "g.json", content)
    assert read_eap_graph(path).unnamed == 1
    assert imported(path)["influence"].sel(source="L0.H0", target="L1.H1").item() == 0


def test_files_become_checkpoints_and_a_whole_result(tmp_path):
    paths = [write_graph(tmp_path / f"step{n}.json", graph(seed=n % 50)) for n in (100, 58, 8, 0)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", CntbenchWarning)
        tree = imported(*paths, draws=9, task="ioi", ablation="eap_ig")
    root = tree.to_dataset(inherit=False)
    validate(root, where="test")
    assert list(root["checkpoint"].values) == ["step0", "step8", "step58", "step100"]
    assert root["status"].values.ravel().tolist() == ["ok", "ok", "duplicate", "duplicate"]
    assert root["status_reason"].values.ravel().tolist()[2:] == [
        *("same weights as step8", "same weights as step0")
    ]
    assert {*tree.children} == {"metrics", "roles", "nulls", "eap"}
    assert tree["roles/spreader_strength"].notnull().any()
    assert steepest_rise(root, "ioi", "accuracy") is None
    write_results(tree, tmp_path / "results.nc")
    for node in open_results(tmp_path / "results.nc").subtree:
        xr.testing.assert_identical(
            node.to_dataset(inherit=False), tree[node.path].to_dataset(inherit=False)
        )


def test_steps_are_said_or_read_off_the_name(tmp_path):
    a = write_graph(tmp_path / "gpt2.json", graph(seed=1))
    b = write_graph(tmp_path / "ioi_step30.json", graph(seed=2))
    c = write_graph(tmp_path / "checkpoint-40.json", graph(seed=3))
    d = write_graph(tmp_path / "50.json", graph(seed=4))
    assert list(read_graphs([f"{a}@200", str(d), str(b), str(c)])) == [30, 40, 50, 200]
    assert list(read_graphs([str(a)])) == [0], "the number is no step"
    assert list(read_graphs([str(b)])) == [30]
    e = write_graph(tmp_path / "step500_loss3.31.json", graph(seed=5))
    f = write_graph(tmp_path / "checkpoint-60-epoch-1.json", graph(seed=6))
    assert list(read_graphs([str(e), str(f)])) == [60, 500]
    assert list(read_graphs([str(e)])) == [500]
    odd = write_graph(tmp_path / "c.json@7", graph())
    assert list(read_graphs([str(odd)])) == [0], "the file's name is what is there"


def changed(**changes: object) -> dict:
    return {**graph(), **changes}


def with_edge(name: str, message: object) -> dict:
    content = graph()
    content["edges"][name] = message
    return content


SAID = {"score": 1.0, "in_graph": True}
CFG = graph()["cfg"]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ([1, 2], ["is [1, 2]", "Expected: an object with the keys cfg, nodes, edges"]),
        ({"edges": {}, "links": 1}, ["lacks cfg, nodes", "found edges and links"]),
        (changed(nodes=[]), ["g.json: nodes: is []", "Expected: an object"]),
        (changed(n_pos=5), ["g.json: n_pos", "graph of positions"]),
        (changed(edges={}), ["g.json: edges: has no edges"]),
        (changed(cfg={**CFG, "n_layers": "2"}), ['cfg.n_layers: is "2"', "a whole number"]),
        (changed(cfg={**CFG, "n_heads": 10**9}), ["g.json: cfg", "more than 20000 components"]),
        (
            changed(cfg={**CFG, "parallel_attn_mlp": None}),
            ["cfg.parallel_attn_mlp: is null", "true or false"],
        ),
        (
            changed(nodes={"a0.h9": True}),
            ["nodes: there is no node 'a0.h9' in a model of"],
        ),
        (changed(nodes={"mlp0": True}), ["no node 'mlp0'", "input, logits"]),
        (with_edge("a0.h0", SAID), ["edges['a0.h0']: is not the name of an edge"]),
        (with_edge("a0.h0->a7.h0<q>", SAID), ["no node 'a7.h0'", "Did you mean 'a"]),
        (
            with_edge("a0.h0->a1.h0", SAID),
            ["does not say which input of the head", "<q>, <k> or <v>"],
        ),
        (with_edge("a0.h0->m1<q>", SAID), ["is not into a head"]),
        (with_edge("a1.h0->a0.h0<q>", SAID), ["is not an edge of the architecture"]),
        (with_edge("m0->m0", SAID), ["is not an edge of the architecture"]),
        (with_edge("logits->m0", SAID), ["logits have no outgoing edges"]),
        (with_edge("m0->m1", 0.5), ["edges['m0->m1']: is 0.5", "with score and in_graph"]),
        (
            with_edge("m0->m1", {"score": None, "in_graph": True}),
            ["edges['m0->m1'].score: is null", "a finite number"],
        ),
        (
            with_edge("m0->m1", {"score": float("nan"), "in_graph": True}),
            [".score: is NaN", "a finite number"],
        ),
    ],
)
def test_what_is_no_such_graph_is_refused(tmp_path, content, parts):
    path = write_graph(tmp_path / "g.json", content)
    with pytest.raises(CntbenchError) as raised:
        read_eap_graph(path)
    for part in (str(path), *parts):
        assert part in str(raised.value)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "g.pt").write_bytes(b"PK\x03\x04\x80")
    write_graph(tmp_path / "a.json", graph())
    write_graph(tmp_path / "b.json", graph(layers=3))
    for names, part in (
        (["g.pt"], "is not JSON"),
        (["none.json"], "no such file"),
        (["."], "is a folder"),
        (["a.json@1", "b.json@2"], "is of 3 layers of 2 heads in sequential blocks, and"),
        (["a.json@1", "a.json@1"], "has step 1, as"),
        (["a.json", "b.json"], "has no training step in its name"),
        (["v7.json", "b.json"], r"'v7' has a number, but no word .*\n.*v7\.json@1000"),
        (["step1_ckpt2.json"], r"'step1_ckpt2' has more than one step"),
    ):
        with pytest.raises(CntbenchError, match=part):
            read_graphs([str(tmp_path / name) for name in names])


def scored_at(content: dict, edges: float | None, nodes: float | None) -> dict:
    """A graph with these scores at its edges and nodes; None leaves them as they are."""
    for edge in content["edges"].values() if edges is not None else ():
        edge["score"] = edges
    for node in content["nodes"].values() if nodes is not None else ():
        node["score"] = nodes
    return content


@pytest.mark.parametrize("parallel", [False, True])
def test_scores_at_nodes_are_not_taken_for_edges(tmp_path, parallel):
    path = write_graph(tmp_path / "g.json", scored_at(graph(parallel=parallel), 0.0, 0.25))
    with pytest.raises(CntbenchError, match=r"g.json: nodes.*has scores at its nodes, and none"):
        read_eap_graph(path)
    for edges, nodes in ((None, 0.25), (0.0, 0.0), (0.0, None)):
        write_graph(path, scored_at(graph(parallel=parallel), edges, nodes))
        assert read_eap_graph(path)


@pytest.mark.parametrize("score", [0.0, -0.5])
def test_what_is_the_same_everywhere_is_said(tmp_path, score):
    paths = [tmp_path / f"step{step}.json" for step in (0, 8)]
    write_graph(paths[0], graph(seed=0))
    write_graph(paths[1], scored_at(graph(seed=1), score, None))
    with pytest.warns(CntbenchWarning) as told:
        imported(*paths)
    (line,) = [str(warning.message) for warning in told]
    assert line == f"{paths[1]}: every edge between components has the score {score:g}"


@pytest.mark.parametrize("scored", [False, True])
def test_equal_scores_of_the_edges_that_are_named_are_not_those_of_all(tmp_path, scored):
    content = graph()
    for name in [name for name, edge in content["edges"].items() if not edge["in_graph"]]:
        del content["edges"][name]
    for edge in content["edges"].values():
        edge |= {"score": 1.0} if scored else {}
        if not scored:
            del edge["score"]
    read = read_eap_graph(write_graph(tmp_path / "g.json", content))
    assert (read.unnamed > 0, read.flat) == (True, None)


def test_an_empty_circuit_and_equal_files_are_said(tmp_path):
    content = graph(seed=0)
    for edge in content["edges"].values():
        edge["in_graph"] = False
    path = write_graph(tmp_path / "step0.json", content)
    with pytest.warns(CntbenchWarning, match=r"has the score 0 \(edges outside of the circuit"):
        imported(path, circuit=True)
    other = write_graph(tmp_path / "step8.json", content | {"comment": "other bytes"})
    with pytest.warns(CntbenchWarning, match=r"step0.json and all other files have the same"):
        imported(path, other)


def test_what_differs_is_told_in_silence(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CntbenchWarning)
        imported(*(write_graph(tmp_path / f"step{i}.json", graph(seed=i)) for i in range(2)))
