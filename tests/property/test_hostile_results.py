"""No result and no golden folder brings a command down.

`support.hostile` says what every command keeps to.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.hostile import ALLOWED, Result, command, empty_folder, hold, trials, write_result
from support.mutations import (
    mutated_bytes,
    mutated_json,
    mutated_result,
    write_sealed,
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return write_result(tmp_path_factory.mktemp("result") / "result.nc")


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
