"""No input brings a command down: odd specs, results, graphs, checkpoints, folders, arguments.

Whatever a file holds, a command ends with an exit code that is documented, without a traceback, in
at most 25 lines of messages, naming the file if it refuses it, and then leaving no output behind.
``CNTBENCH_FUZZ=20 pytest tests/property/test_hostile_input.py`` tries twenty times as many inputs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import typer
import xarray as xr
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from support.eap import graph
from support.mutations import (
    ODD_VALUES,
    mutated_bytes,
    mutated_json,
    mutated_result,
    mutated_toml,
    write_sealed,
)
from support.results import film_with_gaps, whole_result
from support.runs import write_study
from support.trajectories import write_trajectory

from cntbench.cli.main import app, main
from cntbench.estimate import calibration
from cntbench.results.storage import write_results

EFFORT = int(os.environ.get("CNTBENCH_FUZZ", "1"))
TASKS = Path(__file__).parents[2] / "tasks"
SPECS = sorted(TASKS.rglob("*.toml"))
#: Most lines of messages that a command prints.
MOST_LINES = 25

#: Exit codes of commands that are given something odd: done, refused, checkpoints without numbers.
ALLOWED = (0, 2, 3)


def trials(count: int) -> settings:
    """So many examples, the same ones every time; ``CNTBENCH_FUZZ`` multiplies them."""
    return settings(
        max_examples=count * EFFORT,
        derandomize=EFFORT == 1,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments: object) -> Ended:
    """Run a command line in this process; an exception that would be a traceback fails the test."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    words = ["cntbench", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ, {"COLUMNS": "100"}),
        mock.patch.object(calibration, "SECONDS", 0),  # a plan times one call of the engine
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            shown = traceback.format_exc()[-2500:]
            raise AssertionError(f"{' '.join(words)[:300]} ends so:\n{shown}") from None
    return Ended(code, out.getvalue(), err.getvalue())


def hold(ended: Ended, *names: str, allowed: Sequence[int] = ALLOWED) -> None:
    """Hold a command to what every command keeps to; ``names``: of files, one of which it names."""
    assert ended.code in allowed, f"exit code {ended.code}: {ended.err or ended.out}"
    assert "Traceback" not in ended.err
    assert ended.err.count("\n") <= MOST_LINES, ended.err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]", ended.err + ended.out), (
        "control characters reach the terminal"
    )
    assert len(ended.err) < 4000, "a message repeats what is long"
    if ended.code == 2:
        assert ended.err.strip(), "refused without a word"
        if names:
            assert any(name in ended.err for name in names), f"{names} not in: {ended.err}"


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """An empty folder that is the working directory."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


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


# Results


class Result(NamedTuple):
    """A result, and the bytes of its file."""

    tree: xr.DataTree
    content: bytes

    def __repr__(self) -> str:
        return "a result"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    few = ["gini", "betweenness", "recurrence", "share_sent"]
    tree = whole_result(film_with_gaps(tasks=("induction",)), metrics=few)
    path = tmp_path_factory.mktemp("result") / "result.nc"
    write_results(tree, path)
    return Result(tree, path.read_bytes())


#: Commands that read a result, with the output that each writes.
CELL = ("--task", "induction", "--ablation", "zero")
READERS: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (("show", "odd.nc"), None),
    (("show", "odd.nc"), None),
    (("audit", "odd.nc"), None),
    (("report", "odd.nc", "-o", "out.html"), "out.html"),
    (("claims", "odd.nc", "--claims", "long_tailed_weights", "--draws", "19", "-j", "1"), None),
    (("export", "odd.nc", "-o", "out.csv"), "out.csv"),
    (("export", "odd.nc", "--format", "parquet", "-o", "tables"), "tables"),
    (("export", "odd.nc", *CELL, "-o", "out.gexf"), "out.gexf"),
    (("export", "odd.nc", *CELL, "--checkpoint", "step8", "-o", "out.graphml"), "out.graphml"),
    (("compare", "--results", "odd.nc", "-o", "out.nc"), "out.nc"),
    (("golden", "freeze", "odd.nc", "--to", "golden"), "golden"),
    (("golden", "check", "frozen", "--results", "odd.nc"), None),
)
FIGURES = ("film", "heatmap", "readouts", "metrics", "bump", "claims", "recurrence", "effects")


@trials(20)
@given(data=st.data())
def test_odd_results(result: Result, frozen: Path, data: st.DataObject) -> None:
    tree = mutated_result(data.draw, result.tree)
    words, output = data.draw(st.sampled_from(READERS))
    with empty_folder() as folder:
        assume(write_sealed(tree, folder / "odd.nc"))
        if "frozen" in words:
            shutil.copytree(frozen, folder / "frozen")
        ended = command(*words)
        moved = (1,) if words[:2] == ("golden", "check") else ()
        hold(ended, "odd.nc", allowed=(*ALLOWED, *moved))
        if ended.code == 2 and output:
            assert not (folder / output).exists(), f"{output} was written"


@trials(4)
@given(data=st.data())
def test_odd_results_in_figures(result: Result, data: st.DataObject) -> None:
    tree = mutated_result(data.draw, result.tree)
    kind = data.draw(st.sampled_from(FIGURES))
    with empty_folder() as folder:
        assume(write_sealed(tree, folder / "odd.nc"))
        ended = command("figures", "odd.nc", "-o", "out", "--only", kind, "--format", "svg")
        hold(ended, "odd.nc", "--only")


@trials(10)
@given(data=st.data())
def test_damaged_results(result: Result, data: st.DataObject) -> None:
    with empty_folder() as folder:
        (folder / "odd.nc").write_bytes(mutated_bytes(data.draw, result.content))
        hold(command("show", "odd.nc"), "odd.nc")


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


# Golden folders


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, result: Result) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    (folder / "result.nc").write_bytes(result.content)
    assert command("golden", "freeze", folder / "result.nc", "--to", folder / "frozen").code == 0
    return folder / "frozen"


@trials(15)
@given(data=st.data())
def test_odd_golden_folders(result: Result, frozen: Path, data: st.DataObject) -> None:
    """Exit code 1 says that numbers have moved: damage never does."""
    with empty_folder() as folder:
        shutil.copytree(frozen, folder / "frozen")
        (folder / "result.nc").write_bytes(result.content)
        path = data.draw(st.sampled_from(sorted((folder / "frozen").iterdir())), label="file")
        if path.suffix == ".json":
            path.write_text(mutated_json(data.draw, json.loads(path.read_text())), "utf-8")
        else:
            path.write_bytes(mutated_bytes(data.draw, path.read_bytes()))
        again = ("golden", "check", "frozen", "-j", 1)
        checked = data.draw(st.sampled_from(((*again, "--results", "result.nc"), again)))
        hold(command(*checked), "frozen", "golden.json", allowed=(0, 2))


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


# Command lines


ODD_WORDS = (
    "",
    " ",
    "0",
    "-1",
    "1.5",
    "nan",
    "inf",
    "9" * 30,
    "x" * 300,
    "a,a",
    "induction,induction",
    "..",
    "missing/odd",
    "\x1b[31mred",
    "=1+1",
    "dir:",
    "dir:missing",
    "planted:",
    "planted:chian",
    "hub:",
    "hub:a/b/c@x",
    "tcp://",
    ":",
    "@",
    "*",
)
#: Commands with arguments that are in order, of which one option is made odd.
LINES: dict[str, tuple[str, ...]] = {
    "plan": ("planted",),
    "show": ("result.nc",),
    "audit": ("result.nc",),
    "claims": ("result.nc", "--claims", "long_tailed_weights", "--draws", "19", "-j", "1"),
    "report": ("result.nc", "-o", "out.html"),
    "figures": ("result.nc", "-o", "out", "--only", "readouts", "--format", "svg"),
    "export": ("result.nc", "-o", "out.csv"),
    "import": ("graph.json", "-o", "out.nc", "-j", "1"),
    "score": ("graph.json", "--on", "or_gate"),
    "compare": ("--results", "result.nc"),
    "merge": ("missing", "-o", "out"),
    "list": ("tasks",),
}
#: Options that ask for work instead of being odd.
WORK = {"--help", "--version", "--jobs", "-j", "--draws"}


@functools.cache
def options_of(name: str) -> list[str]:
    """Return the options of a command that take a value."""
    group: Any = typer.main.get_command(app)
    return [
        option.opts[0]
        for option in group.commands[name].params
        if option.param_type_name == "option" and not option.is_flag
        if not WORK & {*option.opts}
    ]


@trials(18)
@given(data=st.data())
def test_odd_arguments(result: Result, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(LINES)))
    words = list(LINES[name])
    odd = data.draw(st.sampled_from(ODD_WORDS))
    options = options_of(name)
    if options and data.draw(st.integers(0, 4)):
        words += [data.draw(st.sampled_from(options)), odd]
    else:
        words[0] = odd
    if name == "plan" and words[0] == "planted":
        words = ["nano", "--trajectory", "planted:chain", *words[1:]]
    with empty_folder() as folder:
        (folder / "result.nc").write_bytes(result.content)
        (folder / "graph.json").write_text(json.dumps(graph()))
        ended = command(name, *words)
        hold(ended)
        if name != "claims":
            assert (folder / "result.nc").read_bytes() == result.content


def test_odd_values_are_odd() -> None:
    """The mutations would be pointless if what they start from were refused too."""
    assert len(ODD_VALUES) > 10
    with empty_folder() as folder:
        (folder / "graph.json").write_text(json.dumps(graph()))
        assert command("import", "graph.json", "-o", "out.nc", "-j", 1).code == 0
