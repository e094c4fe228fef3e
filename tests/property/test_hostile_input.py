"""No input brings a command down: odd specs, graphs, checkpoints, folders of runs.

`support.hostile` says what every command keeps to.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.eap import graph
from support.hostile import ALLOWED, command, empty_folder, hold, trials
from support.mutations import (
    ODD_VALUES,
    mutated_bytes,
    mutated_json,
    mutated_toml,
)
from support.runs import write_study
from support.trajectories import write_trajectory

TASKS = Path(__file__).parents[2] / "tasks"
SPECS = sorted(TASKS.rglob("*.toml"))


# Specs


@trials(30)
@given(st.data())
def test_odd_specs(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(SPECS), label="spec")
    text = mutated_toml(data.draw, source.read_text("utf-8"))
    within = source.parent.relative_to(TASKS)
    with empty_folder() as folder:
        path = folder / "specs" / within / "odd.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text, "utf-8")
        kinds = ("ablations", "tasks", "claims", "planted")
        ended = command("list", data.draw(st.sampled_from(kinds)), "--specs", "specs")
        hold(ended, "odd.toml", allowed=(0, 2))


# Graphs of other programs


@trials(25)
@given(st.data())
def test_odd_graphs(data: st.DataObject) -> None:
    content = graph(old=data.draw(st.booleans()))
    steps = ("", "", "", "@8", "@9223372036854775808", "@-1", "@x")
    step = data.draw(st.sampled_from(steps))
    with empty_folder() as folder:
        (folder / "odd.json").write_text(mutated_json(data.draw, content), "utf-8")
        ended = command("import", f"odd.json{step}", "-o", "out.nc", "-j", 1)
        hold(ended, "odd.json", allowed=(0, 2))
        assert (folder / "out.nc").exists() == (ended.code == 0)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for architecture in ("gpt_neox", "gpt2", "llama"):
        write_trajectory(folder / architecture, architecture=architecture)
    return folder


@trials(6)
@given(data=st.data())
def test_odd_configs(checkpoints: Path, data: st.DataObject) -> None:
    """One bad checkpoint of three is one that could not be read; if all are, nothing is left."""
    architecture = data.draw(st.sampled_from(("gpt_neox", "gpt2", "llama")))
    config = json.loads((checkpoints / architecture / "step8/config.json").read_text())
    every = data.draw(st.booleans(), label="every checkpoint")
    text = mutated_json(data.draw, config)
    with empty_folder() as folder:
        shutil.copytree(checkpoints / architecture, folder / "run")
        for path in folder.glob("run/*/config.json"):
            if every or path.parent.name == "step8":
                path.write_text(text, "utf-8")
        ended = command("audit", "dir:run")
        hold(ended, "run", allowed=ALLOWED if every else (0, 3))
        hold(command("plan", "--trajectory", "dir:run", "--tasks", "induction"), "run")


# Folders of runs


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, checkpoints: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_study(folder / "specs", "tiny", checkpoints / "gpt_neox", untrained=1)
    ended = command(*TINY, "-o", folder / "run", "--specs", folder / "specs")
    assert ended.code == 0, ended.err
    return folder


TINY = ("run", "tiny", "--executor", "serial")


@trials(6)
@given(data=st.data())
def test_odd_run_folders(run_folder: Path, data: st.DataObject) -> None:
    """What is damaged is measured again, or refused by name; the numbers are the same."""
    with empty_folder() as folder:
        shutil.copytree(run_folder / "run", folder / "run")
        whole = (folder / "run/results.nc").read_bytes()
        files = [path for path in folder.glob("run/**/*") if path.suffix in (".nc", ".json")]
        path = data.draw(st.sampled_from(sorted(files)), label="file")
        if path.suffix == ".json":
            path.write_text(mutated_json(data.draw, json.loads(path.read_text())), "utf-8")
        else:
            path.write_bytes(mutated_bytes(data.draw, path.read_bytes()))
        kind = data.draw(st.sampled_from(("run", "merge", "audit")))
        specs = ("--specs", run_folder / "specs")
        if kind == "run":
            ended = command(*TINY, "-o", "run", *specs)
        elif kind == "merge":
            ended = command("merge", "run", "-o", "merged", "-j", 1, *specs)
        else:
            ended = command("audit", "run")
        hold(ended, "run", path.name)
        if kind == "run" and ended.code == 0:
            assert (folder / "run/results.nc").read_bytes() == whole


def test_odd_values_are_odd() -> None:
    """The mutations would be pointless if what they start from were refused too."""
    assert len(ODD_VALUES) > 10
    with empty_folder() as folder:
        (folder / "graph.json").write_text(json.dumps(graph()))
        assert command("import", "graph.json", "-o", "out.nc", "-j", 1).code == 0
