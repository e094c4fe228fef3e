"""Every command that reads a result: odd files are refused by name, odd groups are left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from support.odd_results import GROUPS, ROOTS, groups_of, write_groups
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
    return whole_result(film_with_gaps(), metrics=["gini", "betweenness"])


@pytest.fixture
def called(monkeypatch, capsys, tmp_path):
    """Run a command on a file as a shell does; returns its exit code and what it says on stderr."""

    def call(name: str, file: Path) -> tuple[int, str]:
        words = COMMANDS[name](file, tmp_path)
        monkeypatch.setattr("sys.argv", ["cntbench", *map(str, words)])
        monkeypatch.setattr(err, "_width", 1000)  # paths are not folded
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        return code, capsys.readouterr().err

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_an_odd_film_by_name(tree, tmp_path, called, name):
    groups = {"/": groups_of(tree)["/"]}
    ROOTS["no task"](groups)
    path = write_groups(groups, tmp_path / "odd.nc")
    code, said = called(name, path)
    assert code == 2
    assert said.startswith(f"error: {path}: ")
    assert len(said.splitlines()) <= 3
    assert [other.name for other in tmp_path.iterdir()] == ["odd.nc"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_once_which_group_it_leaves_out(tree, tmp_path, called, name):
    groups = groups_of(tree)
    for group, odd in (("metrics", "metrics: text"), ("claims", "claims: undecided")):
        GROUPS[odd][1](groups)
        assert GROUPS[odd][0] == f"/{group}"
    path = write_groups(groups, tmp_path / "odd.nc")
    code, said = called(name, path)
    assert code in (0, 3), said
    for group in ("metrics", "claims"):
        assert said.count(f"{path}: group '{group}' is left out: ") == 1
    assert said.count(str(path)) == 2


@pytest.mark.parametrize("group", ["metrics", "nulls", "roles", "phases", "claims"])
@pytest.mark.parametrize("name", ["show", "report", "export csv"])
def test_a_command_does_without_any_one_group(tree, tmp_path, called, name, group):
    groups = groups_of(tree)
    del groups[f"/{group}"]
    code, said = called(name, write_groups(groups, tmp_path / "less.nc"))
    assert (code, said) == (0, "")


@pytest.fixture(scope="module")
def failed(tmp_path_factory) -> Path:
    """A result none of whose checkpoints could be measured."""
    film = film_with_gaps()
    for variable in film.data_vars.values():
        if variable.dtype.kind == "f":
            variable[:] = np.nan
    film["status"][:] = "failed"
    film["status_reason"][:] = "no room"
    path = tmp_path_factory.mktemp("failed") / "failed.nc"
    write_results(whole_result(film), path)
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_result_whose_checkpoints_all_failed_is_shown_as_that(failed, called, name):
    before = failed.read_bytes()
    code, said = called(name, failed)
    assert failed.read_bytes() == before
    if name in ("show", "report", "figures"):
        assert (code, said) == (0, "")
    elif name == "audit":
        assert code == 3
    else:
        assert code == 2
        assert "measure" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_what_xarray_has_written_is_read_with_one_warning(tree, tmp_path, called, name):
    path = tmp_path / "film.nc"
    tree.to_dataset(inherit=False).to_netcdf(path)
    code, said = called(name, path)
    assert code in (0, 3), said
    assert said.count(f"warning: {path}: has no checksum") == 1


def test_claims_on_an_unsealed_result_are_worked_out_anew(tree, tmp_path, called):
    """Nothing says that verdicts which stand in it are on its film."""
    groups = groups_of(tree)
    groups["/claims"]["verdict"][:] = "supported"
    path = write_groups(groups, tmp_path / "film.nc", seal=False)
    assert called("claims", path)[0] == 0
    found = open_results(path)["claims"]
    assert list(found["claim"].values) == ["three_phases"]
    assert not (found["verdict"] == "supported").any()
