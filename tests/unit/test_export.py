"""Results in other formats: every number is there, exactly, and gaps are gaps."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from contextlib import suppress
from itertools import product
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from support.films import random_film
from support.runs import quiet

from cntbench.analysis.derived import NullDraws, derived
from cntbench.analysis.verdicts import add_verdicts
from cntbench.errors import CntbenchError, PluginError
from cntbench.exchange.export import chosen, export
from cntbench.exchange.formats import parquet as parquet_tables
from cntbench.exchange.formats.gexf import film_graph, spans
from cntbench.plugins.folders import using
from cntbench.results.storage import open_results, write_results
from cntbench.runs.catalogue import load_catalogue

NAMES = ("step0", "step8", "step16", "step100")
EDGES = ("influence", "influence_se", "edge_effect", "edge_effect_se")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> xr.DataTree:
    """Two tasks by two ablations, of which the second checkpoint is missing; with all groups."""
    root = random_film(names=NAMES, tasks=("induction", "a/../b"))
    for name in ("readout_effect", "readout_effect_se", *EDGES):
        root[name].loc[{"checkpoint": "step8"}] = np.nan
    root["status"].loc[{"checkpoint": "step8"}] = "missing"
    root["status_reason"].loc[{"checkpoint": "step8"}] = "there is no such branch"
    root["status"].loc[{"checkpoint": "step8", "task": "induction", "ablation": "mean"}] = "failed"
    root["status_reason"].loc[{"checkpoint": "step8", "task": "induction"}] = "broken"
    root["edge_effect"].loc[{"ablation": "zero"}] = np.nan
    groups = derived(root, None, NullDraws(0, 9, 1, quiet))
    path = tmp_path_factory.mktemp("result") / "results.nc"
    write_results(xr.DataTree.from_dict({"/": root, **groups}), path)
    add_verdicts(path, load_catalogue().some_claims(), draws=19, jobs=1, progress=quiet)
    return open_results(path)


def cell(tree, **labels):
    return chosen(tree, {dim: [label] for dim, label in labels.items()})


@pytest.mark.parametrize("dim", ["task", "ablation", "checkpoint"])
def test_what_is_chosen_stays_in_order(tree, dim):
    labels = tree[dim].values.tolist()[-2:]
    assert chosen(tree, {dim: labels[::-1]})[dim].values.tolist() == labels


# GraphML


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_graphml_holds_every_number_of_the_moment(tree, tmp_path, ablation):
    path = tmp_path / "graph.graphml"
    moment = cell(tree, task="induction", ablation=ablation, checkpoint="step16")
    assert export(moment, path, None) == [path]
    graph = nx.read_graphml(path)
    film = moment.to_dataset(inherit=False).squeeze(["task", "ablation", "checkpoint"])
    assert list(graph) == list(film["source"].values)
    assert graph.graph["checkpoint"] == "step16"
    assert graph.graph["step"] == 16
    for source, target in np.argwhere(film["influence"].notnull().values):
        at = {"source": source, "target": target}
        edge = graph.edges[film["source"].values[source], film["target"].values[target]]
        expected = {
            "weight": film["influence"][at].item(),
            "standard_error": film["influence_se"][at].item(),
            "effect": film["edge_effect"][at].item(),
            "effect_standard_error": film["edge_effect_se"][at].item(),
        }
        if ablation == "zero":
            assert np.isnan(expected.pop("effect"))
        assert edge == expected
    assert graph.number_of_edges() == film["influence"].notnull().sum()
    roles = tree["roles"].to_dataset(inherit=True)
    roles = roles.sel(task="induction", ablation=ablation, checkpoint="step16")
    for place, (name, node) in enumerate(graph.nodes.items()):
        assert node["layer"] == film["source_layer"].sel(source=name)
        assert node["kind"] == film["source_kind"].sel(source=name)
        assert node.get("head", -1) == film["source_head"].sel(source=name)
        effect = film["readout_effect"].sel(source=name, readout="logit_difference").item()
        assert node["logit_difference_effect"] == effect
        strength = roles["spreader_strength"].values[place]
        assert np.isnan(strength) or node["spreader_strength"] == pytest.approx(strength)


def test_a_folder_of_graphml_leaves_out_what_was_not_measured(tree, tmp_path):
    written = export(tree, tmp_path / "graphs", "graphml")
    names = {str(path.relative_to(tmp_path / "graphs")) for path in written}
    assert names == {
        f"{task}/{ablation}/{checkpoint}.graphml"
        for task in ("induction", "a%2F%2E%2E%2Fb")
        for ablation in ("zero", "mean")
        for checkpoint in ("step0", "step16", "step100")
    }
    for path in written:
        assert nx.read_graphml(path).number_of_edges() == 9


def test_a_graphml_file_holds_one_graph_that_was_measured(tree, tmp_path):
    path = tmp_path / "graph.graphml"
    with pytest.raises(CntbenchError, match=r"the selection has 4\n.*--checkpoint;"):
        export(cell(tree, task="induction", ablation="zero"), path, None)
    with pytest.raises(CntbenchError, match="the selection has no measurements"):
        export(cell(tree, task="induction", ablation="zero", checkpoint="step8"), path, None)
    assert not list(tmp_path.iterdir())


# GEXF


def test_gexf_holds_the_whole_film_with_its_gap(tree, tmp_path):
    path = tmp_path / "film.gexf"
    moment = cell(tree, task="induction", ablation="mean")
    export(moment, path, None)
    graph = nx.read_gexf(path)
    film = moment.to_dataset(inherit=False).squeeze(["task", "ablation"])
    measured = [0, 2, 3]
    times = [spans(film["step"].values)[i] for i in measured]
    assert times == [(0, 8), (16, 100), (100, 184)]
    assert graph.graph["mode"] == "dynamic"
    assert set(graph.edges) == {
        (film["source"].values[s], film["target"].values[t])
        for s, t in np.argwhere(film["influence"].notnull().any("checkpoint").values)
    }
    weights = dynamic_weights(path)
    for (source, target), edge in graph.edges.items():
        at = film.isel(checkpoint=measured).sel(source=source, target=target)
        assert edge["spells"] == [(0, 8), (16, 184)]
        for what, variable in (("standard_error", "influence_se"), ("effect", "edge_effect")):
            assert edge[what] == [
                (value, *time) for value, time in zip(at[variable].values, times, strict=True)
            ]
        assert weights[source, target] == [
            (value, *time) for value, time in zip(at["influence"].values, times, strict=True)
        ]
        assert edge["weight"] == at["influence"].values[-1]
    roles = tree["roles"].to_dataset(inherit=True).sel(task="induction", ablation="mean")
    for place, (name, node) in enumerate(graph.nodes.items()):
        assert node["label"] == name
        assert node["viz"]["position"]["y"] == 200 * node["layer"]
        for role, side in (("spreader", "source"), ("gatherer", "target")):
            values = roles[f"{role}_strength"].isel(checkpoint=measured, **{side: place}).values
            expected = [
                (v, *time) for v, time in zip(values, times, strict=True) if not np.isnan(v)
            ]
            assert node.get(f"{role}_strength", []) == expected
    positions = [tuple(node["viz"]["position"].values()) for node in graph.nodes.values()]
    assert len(set(positions)) == len(positions)


def dynamic_weights(path) -> dict[tuple[str, str], list[tuple[float, float, float]]]:
    """What Gephi takes for the weight that changes: values of the dynamic attribute ``weight``."""
    space = {"": "http://www.gexf.net/1.2draft"}
    graph = ElementTree.parse(path).getroot().find("graph", space)
    assert graph.get("mode") == "dynamic"
    assert graph.get("timeformat") == "double"
    (declared,) = graph.findall("attributes[@mode='dynamic'][@class='edge']", space)
    assert declared.find("attribute[@id='weight']", space).get("type") == "double"
    return {
        (edge.get("source"), edge.get("target")): [
            (float(value.get("value")), float(value.get("start")), float(value.get("end")))
            for value in edge.findall("attvalues/attvalue[@for='weight']", space)
        ]
        for edge in graph.find("edges", space)
    }


def test_a_folder_of_gexf_has_every_film(tree, tmp_path):
    written = export(tree, tmp_path / "films", "gexf")
    assert {str(path.relative_to(tmp_path / "films")) for path in written} == {
        f"{task}/{ablation}.gexf"
        for task in ("induction", "a%2F%2E%2E%2Fb")
        for ablation in ("zero", "mean")
    }
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in export(tree, tmp_path / "films", "gexf")] == before
    with pytest.raises(CntbenchError, match="the selection has 2 by 2"):
        export(tree, tmp_path / "film.gexf", None)


@pytest.mark.parametrize("name", ["film.gexf", "edges.csv", "films"])
def test_what_was_not_measured_is_not_exported(tree, tmp_path, name):
    gone = cell(tree, checkpoint="step8")
    with pytest.raises(CntbenchError, match="the selection has no measurements"):
        export(gone, tmp_path / name, "gexf" if name == "films" else None)
    root = random_film()
    root["status"].loc[{"ablation": "zero"}] = "failed"
    (path,) = export(xr.DataTree(root), tmp_path / "films", "gexf")
    assert path.name == "mean.gexf"
    with pytest.raises(CntbenchError, match="no checkpoint of induction by zero was measured"):
        film_graph(xr.DataTree(root), 0, 0)


def test_a_film_for_gephi_is_written_edge_by_edge(tmp_path):
    root = random_film(layers=5, heads=4, names=[f"step{i}" for i in range(30)])
    single = xr.DataTree(root.isel(ablation=[0]))
    tracemalloc.start()
    export(single, tmp_path / "film.gexf", None)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert highest < (tmp_path / "film.gexf").stat().st_size / 4


def test_a_single_moment_is_a_film_too(tree, tmp_path):
    moment = cell(tree, task="induction", ablation="zero", checkpoint="step100")
    export(moment, tmp_path / "film.gexf", None)
    assert {w[0][1:] for w in dynamic_weights(tmp_path / "film.gexf").values()} == {(100, 101)}


# Tables


def read(path) -> pd.DataFrame:
    """What another program reads, numbers as the dataset has them."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in table.columns:
        with suppress(ValueError):
            table[name] = table[name].replace("", "nan").astype(np.float64)
    return table.astype({name: np.float32 for name in EDGES if name in table})


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_every_edge_is_a_row(tree, tmp_path, suffix):
    path = tmp_path / f"edges{suffix}"
    export(tree, path, None)
    table = read(path)
    film = tree.to_dataset(inherit=False)
    assert len(table) == 2 * 2 * 4 * 9
    at = ["task", "ablation", "checkpoint", "source", "target"]
    assert not table.duplicated(at).any()
    places = {dim: xr.DataArray(film.get_index(dim).get_indexer(table[dim])) for dim in at}
    for name in EDGES:
        column = table[name].to_numpy()
        assert column.dtype == np.float32
        np.testing.assert_array_equal(column, film[name].isel(places).values)
    np.testing.assert_array_equal(table["step"], film["step"].isel(checkpoint=places["checkpoint"]))
    cells = {dim: places[dim] for dim in at[:3]}
    for name in ("status", "status_reason"):
        np.testing.assert_array_equal(table[name].fillna(""), film[name].isel(cells))
    assert not table["influence"][table["status"] == "ok"].isna().any()


@pytest.fixture(scope="module", params=["csv", "parquet"])
def folder(request, tree, tmp_path_factory):
    """Read all tables of a folder."""
    path = tmp_path_factory.mktemp(request.param)
    return {file.name.split(".")[0]: read(file) for file in export(tree, path, request.param)}


def test_a_folder_has_all_tables(folder):
    assert set(folder) == {
        "checkpoints",
        "edges",
        "components",
        "readouts",
        "metrics",
        "component_metrics",
        "layer_metrics",
        "lag_metrics",
        "pair_metrics",
        "claims",
        "claim_tests",
    }


def test_components_and_readouts_are_the_dataset(tree, folder):
    film, table = tree.to_dataset(inherit=False), folder["components"]
    roles = tree["roles"].to_dataset(inherit=False)
    shape = (2, 2, 4, 6)
    check_labels(table, film, "task", "ablation", "checkpoint", component="source")
    for name in ("layer", "kind", "head"):
        labels = film[f"source_{name}"].sel(source=table["component"].to_numpy())
        np.testing.assert_array_equal(table[name], labels)
    for name in ("status", "status_reason"):
        actual = table[name].fillna("").to_numpy().reshape(shape)
        np.testing.assert_array_equal(actual[..., 0], film[name])
        np.testing.assert_array_equal(actual, actual[..., :1].repeat(shape[-1], axis=-1))
    for column, values in (
        ("logit_difference_effect", film["readout_effect"].sel(readout="logit_difference")),
        ("accuracy_effect_se", film["readout_effect_se"].sel(readout="accuracy")),
        ("previous_token", film["previous_token"].expand_dims(ablation=2, axis=1)),
        ("spreader_strength", roles["spreader_strength"]),
        ("gatherer_top", roles["gatherer_top"]),
        ("gatekeeper_rank", roles["gatekeeper_rank"]),
    ):
        actual = table[column].to_numpy().reshape(shape)
        np.testing.assert_array_equal(actual.astype(np.float32), values.values)
    table = folder["readouts"]
    check_labels(table, film, "task", "checkpoint", "readout")
    units = film["readout_unit"].sel(readout=table["readout"].to_numpy())
    np.testing.assert_array_equal(table["unit"], units)
    for column, variable in (("value", "readout_value"), ("se", "readout_se")):
        expected = film[variable].transpose("task", "checkpoint", "readout").values.ravel()
        np.testing.assert_array_equal(table[column].astype(np.float32), expected)
    check_labels(folder["checkpoints"], film, "checkpoint")


def check_labels(table, dataset, *dims, **columns):
    """Rows are in the order of the dims, each of its own name or that of a column."""
    columns = {**dict(zip(dims, dims, strict=True)), **columns}
    expected = product(*(dataset[dim].values.tolist() for dim in columns.values()))
    assert [*table[[*columns]].itertuples(index=False, name=None)] == [*expected]
    if "step" in table:
        steps = dataset["step"].sel(checkpoint=table["checkpoint"].to_numpy())
        np.testing.assert_array_equal(table["step"], steps)


def test_metrics_stand_beside_their_null_models(tree, folder):
    metrics, nulls = (tree[name].to_dataset(inherit=True) for name in ("metrics", "nulls"))
    tables = {name: table for name, table in folder.items() if name.endswith("metrics")}
    assert sum(len(table) for table in tables.values()) == sum(v.size for v in metrics.values())
    for table, metric, label in (
        ("metrics", "efficiency", {}),
        ("component_metrics", "out_strength", {"component": ("source", "L0.H1")}),
        ("layer_metrics", "share_sent", {"component": ("source", "L0.H1"), "layer": ("layer", 1)}),
        ("lag_metrics", "out_rank_stability", {"lag": ("lag", 2)}),
    ):
        rows = tables[table][tables[table]["metric"] == metric]
        for column, (_, value) in label.items():
            rows = rows[rows[column] == value]
        at = dict(label.values())
        dims = ("task", "ablation", "checkpoint")
        expected = metrics[metric].sel(at).transpose(*dims).values.ravel()
        np.testing.assert_array_equal(rows["value"], expected)
        for column, statistic in (("null_mean", "mean"), ("p_value", "p_value")):
            drawn = (
                nulls[metric].sel({**at, "statistic": statistic}).transpose(*dims).values.ravel()
            )
            np.testing.assert_array_equal(rows[column].astype(np.float32), drawn)


def test_claims_have_verdicts_and_tests(tree, folder):
    group = tree["claims"].to_dataset(inherit=True)
    at = ("task", "ablation", "claim")
    check_labels(folder["claims"], group, *at)
    tests = folder["claim_tests"]
    assert len(tests) == 4 * (group["test_statistic"] != "").sum()
    for table, prefix, dims in ((folder["claims"], "", at), (tests, "test_", (*at, "test"))):
        indices = {
            dim: group.get_index(dim).get_indexer(table[dim]) if dim in at else table[dim]
            for dim in dims
        }
        assert not pd.DataFrame(indices).duplicated().any()
        for name in table.columns.difference([*dims]):
            values = group[f"{prefix}{name}"]
            there = {dim: xr.DataArray(indices[dim].astype(int)) for dim in values.dims}
            expected = values.isel(there).values
            if expected.dtype.kind == "f":
                np.testing.assert_allclose(table[name].astype(float), expected, rtol=1e-6)
            else:
                np.testing.assert_array_equal(table[name].fillna(""), expected)


def test_the_same_table_is_the_same_file(tree, tmp_path):
    files = []
    for name in ("a.csv.gz", "b.csv.gz"):
        export(tree, tmp_path / name, None)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    export(tree, tmp_path / "a.csv", None)
    assert gzip.decompress(files[0]) == (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize("name", ["edges.csv", "edges.csv.gz", "tables"])
def test_no_text_is_a_formula_of_a_spreadsheet(tmp_path, name):
    told = ("=1+1", "+x", "-x", "@x", "\tx", "\rx", "'=1+1", "in-du=c@t+ion")
    root = random_film(tasks=told, ablations=("zero",))
    root["status_reason"][:] = "=HYPERLINK(A1)"
    (*_, path) = export(xr.DataTree(root), tmp_path / name, "csv")
    if name == "tables":
        path = tmp_path / name / "edges.csv"
        for table in path.parent.iterdir():
            assert not re.search(r"(^|[,\n])\"?[=+@\t\r]", table.read_text())
    table = pd.read_csv(path, dtype=str, keep_default_na=False, lineterminator="\n")
    assert list(dict.fromkeys(table["task"])) == [f"'{text}" for text in told[:-1]] + [told[-1]]
    assert set(table["status_reason"]) == {"'=HYPERLINK(A1)"}
    effects = table["edge_effect"].astype(np.float32)
    assert (effects < 0).any()  # a negative number is one still
    parquet = export(xr.DataTree(root), tmp_path / "edges.parquet", None)[0]
    assert set(pd.read_parquet(parquet)["task"]) == set(told)


def test_a_result_without_groups_has_fewer_tables(tmp_path):
    bare = xr.DataTree(random_film())
    written = export(bare, tmp_path / "tables", "csv")
    assert {p.stem for p in written} == {"checkpoints", "edges", "components", "readouts"}
    export(cell(bare, ablation="zero"), tmp_path / "film.gexf", None)
    assert nx.read_gexf(tmp_path / "film.gexf").nodes["L0.H0"]["spreader_strength"]


# Formats, and what is wrong


@pytest.mark.parametrize(
    ("name", "format_name", "part"),
    [
        (
            "out",
            None,
            "no suffix of a known format\nName a file that ends in .csv, .csv.gz, .json, .gexf,",
        ),
        ("out.csv", "gexf", "is the name of a csv file, but --format is gexf"),
        ("file/tables", "csv", "cannot be made"),
        ("nowhere/edges.csv", None, "cannot be written"),
    ],
)
def test_where_to_write_has_to_be_clear(tree, tmp_path, name, format_name, part):
    (tmp_path / "file").touch()
    with pytest.raises(CntbenchError) as raised:
        export(tree, tmp_path / name, format_name)
    assert part in str(raised.value)


def test_a_broken_format_is_told_where_its_suffix_is_unknown(tree, tmp_path):
    path = tmp_path / "specs" / "formats" / "npz.py"
    path.parent.mkdir(parents=True)
    path.write_text("import nothing")
    with using([tmp_path / "specs"]), pytest.raises(PluginError) as raised:
        export(tree, tmp_path / "x.npz", None)
    assert f"{path}, line 1: ModuleNotFoundError" in str(raised.value)


def test_parquet_says_what_to_install(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_tables.importlib.util, "find_spec", lambda name: None)
    for path in (tmp_path / "edges.parquet", tmp_path / "tables"):
        with pytest.raises(CntbenchError, match=r"pip install 'cntbench\[parquet\]'"):
            export(tree, path, "parquet")
    assert not list(tmp_path.iterdir())


def test_labels_that_xml_cannot_hold_are_refused(tmp_path):
    bad = xr.DataTree(random_film(tasks=("a\x01b",), ablations=("zero",), names=("step0",)))
    for name in ("graph.graphml", "film.gexf"):
        with pytest.raises(CntbenchError, match="is not allowed in XML"):
            export(bad, tmp_path / name, None)
    assert not list(tmp_path.iterdir())


def test_a_repetition_is_exported_as_any_graph_and_a_gap_is_not(tmp_path):
    root = random_film(names=NAMES, ablations=("zero",))
    root["status"].loc[{"checkpoint": "step8"}] = "duplicate"
    root["status"].loc[{"checkpoint": "step100"}] = "failed"
    paths = export(xr.DataTree(root), tmp_path, "graphml")
    assert [path.stem for path in paths] == ["step0", "step8", "step16"]
    assert nx.read_graphml(paths[1]).graph["status"] == "duplicate"
