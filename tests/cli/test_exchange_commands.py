"""What users type to take results elsewhere and to bring graphs here; and the example workflow."""

from __future__ import annotations

import re
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from scipy.stats import spearmanr
from support.eap import graph, write_graph
from support.films import random_film

from cntbench.results.storage import open_results, write_results

ROOT = Path(__file__).parents[2]


def test_export_says_what_it_wrote(cli, tmp_path):
    write_results(xr.DataTree(random_film(tasks=("induction", "bigram"))), tmp_path / "r.nc")
    code, out, err = cli("export", "r.nc", "-o", "edges.csv")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"Wrote 1 file, \d+\.\d kB: edges.csv\n", out)
    assert len(pd.read_csv(tmp_path / "edges.csv")) == 2 * 2 * 3 * 9
    some = ["--task", "bigram,induction", "--ablation", "mean", "--checkpoint", "step8,step0"]
    code, out, err = cli("export", "r.nc", "-o", "graphs", "--format", "graphml", *some)
    assert (code, err) == (0, "")
    assert out.startswith("Wrote 4 files, ")
    assert {path.name for path in (tmp_path / "graphs" / "bigram" / "mean").iterdir()} == {
        "step0.graphml",
        "step8.graphml",
    }
    options = ["--task", "bigram", "--ablation", "zero", "--checkpoint", "step100"]
    assert cli("export", "r.nc", "-o", "g.graphml", *options)[0] == 0
    assert nx.read_graphml(tmp_path / "g.graphml").graph["task"] == "bigram"


def test_what_cannot_be_exported_is_said(cli, tmp_path):
    write_results(xr.DataTree(random_film()), tmp_path / "r.nc")
    for arguments, part in (
        (["r.nc", "-o", "out"], "has no suffix of a known format"),
        (["r.nc", "-o", "g.graphml"], "holds one graph, but the selection has 6"),
        (["r.nc", "-o", "g.gexf", "--task", "inducton"], "Did you mean 'induction'?"),
        (["none.nc", "-o", "g.gexf"], "none.nc: no such file"),
    ):
        code, out, err = cli("export", *arguments)
        assert (code, out) == (2, "")
        assert part in err
    assert [path.name for path in tmp_path.iterdir()] == ["r.nc"]


def test_an_unknown_format_or_readout_is_met_with_the_nearest(cli):
    code, _, err = cli("export", "r.nc", "-o", "out", "--format", "graphm")
    assert (code, "Did you mean 'graphml'?" in err) == (2, True)
    code, _, err = cli("import", "g.json", "-o", "r.nc", "--readout", "acuracy")
    assert (code, "Did you mean 'accuracy'?" in err) == (2, True)


def test_graphs_become_a_result_that_commands_work_on(cli, tmp_path):
    for step in (0, 8, 16):
        write_graph(tmp_path / f"step{step}.json", graph(seed=step))
    files = [f"step{step}.json" for step in (0, 8, 16)]
    options = ["--task", "ioi", "--ablation", "eap_ig", "--draws", 19, "-j", 1]
    code, out, err = cli("import", *files, "-o", "theirs.nc", *options)
    assert (code, err) == (0, "")
    members = [sum(e["in_graph"] for e in graph(seed=s)["edges"].values()) for s in (0, 8, 16)]
    assert f"step 8: step8.json, 46 edges, {members[1]} of them in the circuit\n" in out
    assert "2 layers of 2 heads in sequential blocks; scores into q, k and v of a head" in out
    assert "45 edges from the input have no place in the film" in out
    tree = open_results(tmp_path / "theirs.nc")
    assert {*tree.children} == {"metrics", "roles", "nulls", "phases", "claims", "eap"}
    code, out, err = cli("show", "theirs.nc")
    assert (code, err) == (0, "")
    assert "Strongest sources and targets on ioi at step 16" in out
    assert "needs 24 checkpoints, has 3" in out
    assert "nan" not in out
    assert cli("report", "theirs.nc", "-o", "theirs.html")[0] == 0
    page = (tmp_path / "theirs.html").read_text()
    assert "This result does not say: accuracy on ioi was not measured." in page
    assert cli("audit", "theirs.nc")[0] == 0
    assert cli("claims", "theirs.nc", "--draws", 19, "-j", 1)[0] == 0
    assert cli("export", "theirs.nc", "-o", "film.gexf")[0] == 0
    assert cli("golden", "freeze", "theirs.nc", "--to", "golden")[0] == 0
    assert cli("golden", "check", "golden", "--results", "theirs.nc")[0] == 0
    assert "was not made by cntbench run" in cli("golden", "check", "golden")[2]


def test_graphs_that_are_none_are_refused(cli, tmp_path):
    write_graph(tmp_path / "g.json", {"nodes": {}})
    code, out, err = cli("import", "g.json", "-o", "theirs.nc")
    assert (code, out) == (2, "")
    assert "g.json: is not a graph of EAP: it lacks cfg, edges" in err
    assert "found nodes." in err
    assert not (tmp_path / "theirs.nc").exists()


def test_the_example_workflow_is_one(cli):
    workflow = yaml.safe_load((ROOT / "docs" / "examples" / "cntbench.yml").read_text())
    # YAML 1.1 reads the key "on" as a truth value.
    assert set(workflow) == {"name", True, "permissions", "jobs"}
    assert set(workflow[True]) == {"push", "pull_request"}
    (job,) = workflow["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "steps"}
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "uses", "with", "run"}
    commands = "\n".join(step.get("run", "") for step in job["steps"])
    assert re.findall(r"^cntbench .*", commands, re.MULTILINE) == [
        "cntbench golden check golden/mine"
    ]
    (checkout,) = (s["with"] for s in job["steps"] if "repository" in s.get("with", {}))
    assert f"pip install ./{checkout['path']}" in commands
    assert cli("golden", "check", "--help")[0] == 0


def test_no_page_installs_the_project_from_an_index():
    """It is on none: pages name a path, by which a checkout is installed."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.[my][dm]*")]
    lines = [line for page in pages for line in page.read_text("utf-8").splitlines()]
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) > 8
    for line in installs:
        assert not re.search(r"pip install [^`&]*(?<![./\w])cntbench\b", line), line


def test_imported_graphs_are_compared(cli, tmp_path):
    """Those of two methods, and those of one with a result that has its name for them."""
    for name, seed in (("a", 0), ("b", 1)):
        write_graph(tmp_path / f"{name}.json", graph(seed=seed, parallel=True))
        words = ["--task", "induction", "--ablation", name, "--draws", "0"]
        assert cli("import", f"{name}.json", "-o", f"{name}.nc", *words)[0] == 0
    code, out, err = cli("compare", "--results", "a.nc", "--results", "b.nc", "-o", "c.nc")
    assert (code, err) == (0, "")
    assert "b.nc" in out
    with xr.open_dataset(tmp_path / "c.nc") as compared:
        a, b = (open_results(tmp_path / f"{name}.nc")["influence"] for name in "ab")
        expected = spearmanr(a.values[np.isfinite(a)], b.values[np.isfinite(b)]).statistic
        assert compared["agreement"].sel(file="b.nc").values.ravel()[0] == pytest.approx(expected)
