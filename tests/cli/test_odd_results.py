"""Every command that reads a result: odd files are refused by name, odd groups are left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.odd_results import GROUPS, ROOTS, Groups, groups_of, write_groups
from support.results import film_with_gaps, whole_result

from cntbench.cli.main import main
from cntbench.cli.options import err
from cntbench.results.storage import open_results, write_results

#: By name, the words of a command that reads a file and writes into a folder.
COMMANDS: dict[str, Callable[[Path, Path], list[object]]] = {
    "show": lambda file, _: ["show", file],
    "report": lambda file, to: ["report", file, "-o", to / "page.html"],
    "audit": lambda file, _: ["audit", file],
    "claims": lambda file, _: ["claims", file, "--claims", "three_phases", "--draws", 19, "-j", 1],
    "export csv": lambda file, to: ["export", file, "-o", to / "csv", "--format", "csv"],
    "export gexf": lambda file, to: [
        *("export", file, "-o", to / "film.gexf", "--task", "induction", "--ablation", "zero")
    ],
    "compare": lambda file, _: ["compare", "--results", file],
    "golden freeze": lambda file, to: ["golden", "freeze", file, "--to", to / "golden"],
    "figures": lambda file, to: [
        *("figures", file, "-o", to / "figures", "--format", "svg"),
        *("--only", "film,heatmap,metrics"),
    ],
}


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    """A small result with the groups that follow from the film."""
    return whole_result(film_with_gaps(tasks=("induction",)), metrics=["gini", "betweenness"])


@pytest.fixture(scope="module")
def written(tree, tmp_path_factory) -> Callable[..., Path]:
    """Write a result as a function edits it, once."""
    files: dict[Callable, Path] = {}

    def write(edit: Callable, *, seal: bool = True) -> Path:
        if edit not in files:
            groups = groups_of(tree)
            edit(groups)
            path = tmp_path_factory.mktemp("written") / "odd.nc"
            files[edit] = write_groups(groups, path, seal=seal)
        return files[edit]

    return write


@pytest.fixture
def called(monkeypatch, capsys, tmp_path):
    """Run a command on a copy of a file as a shell does; returns its exit code, what it says on
    stderr, and the copy."""

    def call(name: str, file: Path) -> tuple[int, str, Path]:
        file = shutil.copy(file, tmp_path / file.name)
        words = COMMANDS[name](file, tmp_path)
        monkeypatch.setattr("sys.argv", ["cntbench", *map(str, words)])
        monkeypatch.setattr(err, "_width", 1000)  # paths are not folded
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        return code, capsys.readouterr().err, file

    return call


def no_task(groups: Groups) -> None:
    """Keep a film without tasks, and no group."""
    ROOTS["no task"](groups)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_an_odd_film_by_name(written, tmp_path, called, name):
    code, printed, path = called(name, written(no_task))
    assert code == 2
    assert printed.startswith(f"error: {path}: ")
    assert len(printed.splitlines()) <= 3
    assert [other.name for other in tmp_path.iterdir()] == ["odd.nc"]


def two_odd_groups(groups: Groups) -> None:
    """Make two groups such that they cannot be read."""
    for group, odd in (("metrics", "metrics: text"), ("claims", "claims: undecided")):
        GROUPS[odd][1](groups)
        assert GROUPS[odd][0] == f"/{group}"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_once_which_group_it_leaves_out(written, called, name):
    code, printed, path = called(name, written(two_odd_groups))
    assert code in (0, 3), printed
    for group in ("metrics", "claims"):
        assert printed.count(f"{path}: group '{group}' is left out: ") == 1
    assert printed.count(str(path)) == 2


@pytest.fixture(scope="module", params=["metrics", "nulls", "roles", "phases", "claims"])
def less(written, request) -> Path:
    """A result without one of the groups."""
    return written(lambda groups: groups.pop(f"/{request.param}"))


@pytest.mark.parametrize("name", ["show", "report", "export csv"])
def test_a_command_does_without_any_one_group(less, called, name):
    assert called(name, less)[:2] == (0, "")


@pytest.fixture(scope="module")
def failed(tmp_path_factory) -> Path:
    """A result none of whose checkpoints could be measured."""
    film = film_with_gaps(tasks=("induction",))
    for variable in film.data_vars.values():
        if variable.dtype.kind == "f":
            variable[:] = np.nan
    film["status"][:] = "failed"
    film["status_reason"][:] = "no room"
    path = tmp_path_factory.mktemp("failed") / "failed.nc"
    write_results(whole_result(film, metrics=["gini", "betweenness"]), path)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_result_whose_checkpoints_all_failed_is_shown_as_that(failed, called, name):
    code, printed, path = called(name, failed)
    assert path.read_bytes() == failed.read_bytes()
    if name in ("show", "report", "figures"):
        assert (code, printed) == (0, "")
    elif name == "audit":
        assert code == 3
    else:
        assert code == 2
        assert "measure" in printed


@pytest.fixture(scope="module")
def plain(tree, tmp_path_factory) -> Path:
    """A film that xarray has written."""
    path = tmp_path_factory.mktemp("plain") / "film.nc"
    tree.to_dataset(inherit=False).to_netcdf(path)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_what_xarray_has_written_is_read_with_one_warning(plain, called, name):
    code, printed, path = called(name, plain)
    assert code in (0, 3), printed
    assert printed.count(f"warning: {path}: has no checksum") == 1


def supported(groups: Groups) -> None:
    """Put verdicts into the result that are on another film."""
    groups["/claims"]["verdict"][:] = "supported"


def test_claims_on_an_unsealed_result_are_worked_out_anew(written, called):
    """Nothing says that verdicts which stand in it are on its film."""
    code, _, path = called("claims", written(supported, seal=False))
    assert code == 0
    result = open_results(path)["claims"]
    assert list(result["claim"].values) == ["three_phases"]
    assert not (result["verdict"] == "supported").any()
