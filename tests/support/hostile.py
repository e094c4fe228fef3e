"""Commands that are given something odd, and what every command keeps to.

Whatever a file holds, a command ends with an exit code that is documented, without a traceback, in
at most 25 lines of messages, naming the file if it refuses it, and then leaving no output behind.
``CNTBENCH_FUZZ=20 pytest tests/property -k hostile`` tries twenty times as many inputs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import xarray as xr
from hypothesis import HealthCheck, Phase, settings

from cntbench.cli.main import main
from cntbench.estimate import calibration
from cntbench.results.storage import write_results
from support.results import film_with_gaps, whole_result

EFFORT = int(os.environ.get("CNTBENCH_FUZZ", "1"))
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


class Result(NamedTuple):
    """A result, and the bytes of its file."""

    tree: xr.DataTree
    content: bytes

    def __repr__(self) -> str:
        return "a result"


def write_result(path: Path) -> Result:
    """Write a result with gaps."""
    few = ["gini", "betweenness", "recurrence", "share_sent"]
    tree = whole_result(film_with_gaps(tasks=("induction",)), metrics=few)
    write_results(tree, path)
    return Result(tree, path.read_bytes())
