"""A list of names, files or folders that holds one twice is refused, wherever it is given."""

from __future__ import annotations

import pytest
import xarray as xr
from support.films import random_film
from support.planted import write
from support.trajectories import run_cli

import cntbench
from cntbench.errors import CntbenchError
from cntbench.figures import film, metrics
from cntbench.results.storage import write_results
from cntbench.runs.catalogue import load_catalogue

#: Command lines, and what is said to stand twice.
COMMANDS = [
    (["run", "--tasks", "induction,induction"], "task 'induction'"),
    (["run", "--ablations", "zero,mean,zero"], "ablation 'zero'"),
    (["plan", "--tasks", "bigram,bigram"], "task 'bigram'"),
    (["compare", "--tasks", "induction,induction"], "task 'induction'"),
    (["compare", "--circuits", "chain,chain"], "planted circuit 'chain'"),
    (["compare", "--results", "r.nc", "--results", "./r.nc"], "r.nc:"),
    (["claims", "r.nc", "--claims", "three_phases,three_phases"], "claim 'three_phases'"),
    (["claims", "r.nc", "./r.nc"], "r.nc:"),
    (["figures", "r.nc", "-o", "out", "--format", "svg,svg"], "format 'svg'"),
    (["figures", "r.nc", "-o", "out", "--only", "film,film"], "picture 'film'"),
    (["figures", "r.nc", "-o", "out", "--checkpoints", "step0,step0"], "checkpoint 'step0'"),
    (["figures", "r.nc", "-o", "out", "--metrics", "gini,gini"], "metric 'gini'"),
    (["export", "r.nc", "-o", "e.csv", "--task", "induction,induction"], "task 'induction'"),
    (["export", "r.nc", "-o", "e.csv", "--ablation", "zero,zero"], "ablation 'zero'"),
    (["export", "r.nc", "-o", "e.csv", "--checkpoint", "step0,step0"], "checkpoint 'step0'"),
    (["merge", "runs/a", "runs/../runs/a", "-o", "out"], "runs/a:"),
]


@pytest.fixture
def result(tmp_path, monkeypatch):
    """A result in the folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    tree = xr.DataTree(random_film(tasks=("induction",)))
    write_results(tree, tmp_path / "r.nc")
    return tree


@pytest.mark.parametrize(("arguments", "named"), COMMANDS)
def test_a_command_refuses_what_stands_twice(
    result, arguments, named, tmp_path, monkeypatch, capsys
):
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, err = run_cli(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert f"{named} appears twice" in err.replace("runs/../", "")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda r: cntbench.run(tasks=["induction", "induction"]), "task 'induction'"),
        (lambda r: cntbench.influence(None, ["bigram", "bigram"]), "task 'bigram'"),
        (lambda r: cntbench.influence(None, "bigram", ["zero", "zero"]), "ablation 'zero'"),
        (lambda r: cntbench.compare(circuits=("chain", "chain")), "planted circuit 'chain'"),
        (lambda r: cntbench.compare(["r.nc", "r.nc"]), "r.nc:"),
        (lambda r: cntbench.claims(r, ["three_phases"] * 2), "claim 'three_phases'"),
        (lambda r: film(r, ablation="zero", checkpoints=["step0"] * 2), "checkpoint 'step0'"),
        (
            lambda r: film(r, ablation="zero", checkpoints=["step0"], steps=[0]),
            "checkpoint 'step0'",
        ),
        (lambda r: metrics(r, ["gini", "gini"], ablation="zero"), "metric 'gini'"),
    ],
)
def test_a_function_refuses_what_stands_twice(result, call, named):
    with pytest.raises(CntbenchError, match=rf"{named} appears twice"):
        call(result)


TASK = """version = 1
summary = "A task."
generator = "repeated_block"
learnt = "It rises."
not_learnt = "It stays."
effects = ["accuracy", "accuracy"]
"""


def test_a_spec_refuses_what_stands_twice(tmp_path):
    write(tmp_path / "a" / "planted", 'tasks = ["induction", "induction"]\nlayers = 2\nheads = 1\n'
          'width = 64\nedges = [["L0.H0", "L1.MLP"]]\n')  # fmt: skip
    with pytest.raises(CntbenchError, match=r"mine\.toml: tasks: task 'induction' appears twice"):
        load_catalogue([tmp_path / "a"]).known_circuits(["mine"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "odd.toml").write_text(TASK)
    with pytest.raises(CntbenchError, match=r"(?s)odd\.toml: effects = .*Each may appear once"):
        load_catalogue([tmp_path / "b"]).changed_study(
            "nano", {"tasks": ("odd",)}, where="command line"
        )
