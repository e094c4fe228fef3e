"""No argument brings a command down.

`support.hostile` says what every command keeps to.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from support.eap import graph
from support.hostile import Result, command, empty_folder, hold, trials, write_result

from cntbench.cli.main import app


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return write_result(tmp_path_factory.mktemp("result") / "result.nc")


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
