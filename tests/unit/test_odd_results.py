"""The one door: what lies in a file with the right checksum is held to the schema all the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from support.films import random_film
from support.odd_results import GROUPS, ROOTS, groups_of, write_groups
from support.results import comparison_dataset, film_with_gaps, whole_result

from cntbench.errors import CntbenchWarning, StorageError
from cntbench.results.storage import UNSEALED, open_results, open_sealed, write_results


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    """A small result with all groups."""
    tree = whole_result(film_with_gaps(), metrics=["gini", "betweenness", "share_sent"])
    tree["comparison"] = xr.DataTree(comparison_dataset())
    return tree


def test_a_result_with_all_groups_is_read_as_it_was_written(tree, tmp_path, recwarn):
    for path in (write_groups(groups_of(tree), tmp_path / "by_group.nc"), tmp_path / "whole.nc"):
        if not path.exists():
            write_results(tree, path)
        assert set(open_results(path).children) == set(tree.children)
        assert set(open_sealed(path).children) == set(tree.children)
    assert not recwarn


@pytest.mark.parametrize("odd", ROOTS)
def test_an_odd_film_is_refused(tree, tmp_path, odd):
    groups = {"/": groups_of(tree)["/"]}
    ROOTS[odd](groups)
    path = write_groups(groups, tmp_path / "odd.nc")
    for read in (open_results, open_sealed):
        with pytest.raises(StorageError, match=r"odd\.nc: ") as refused:
            read(path)
        assert "checksum" not in str(refused.value)
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize("odd", GROUPS)
def test_an_odd_group_is_left_out_with_a_sentence(tree, tmp_path, odd):
    name, edit = GROUPS[odd]
    groups = {key: groups_of(tree)[key] for key in ("/", name)}
    edit(groups)
    path = write_groups(groups, tmp_path / "odd.nc")
    with pytest.warns(CntbenchWarning) as told:
        result = open_results(path)
    assert not result.children
    assert result["influence"].equals(tree["influence"])
    [sentence] = [str(warning.message) for warning in told]
    assert sentence.startswith(f"{path}: group {name[1:]!r} is left out: ")
    with pytest.raises(StorageError, match=rf"group '{name[1:]}'"):
        open_sealed(path)


def test_a_group_of_the_users_own_stays(tree, tmp_path, recwarn):
    groups = groups_of(tree)
    groups["/mine"] = xr.Dataset({"number": ("task", [1.0, 2.0])})
    groups["/mine/deeper"] = xr.Dataset({"other": ("thing", [1.0])})
    result = open_results(write_groups(groups, tmp_path / "odd.nc"))
    assert result["mine/deeper/other"].item() == 1
    assert not recwarn


def test_what_is_under_a_group_that_is_left_out_goes_with_it(tree, tmp_path):
    groups = groups_of(tree)
    groups["/mine"] = xr.Dataset({"number": ("task", np.zeros(5))})
    groups["/mine/deeper"] = xr.Dataset({"other": ("thing", [1.0])})
    with pytest.warns(CntbenchWarning, match="'mine' is left out: variable 'task' has size 5"):
        result = open_results(write_groups(groups, tmp_path / "odd.nc"))
    assert "mine" not in result.children


def test_an_odd_group_is_never_written(tree, tmp_path):
    odd = tree.copy(deep=True)
    odd["phases"]["count"][:] = 4
    with pytest.raises(StorageError, match="group 'phases': has other boundaries"):
        write_results(odd, tmp_path / "odd.nc")
    assert not list(tmp_path.iterdir())


def test_what_xarray_has_written_opens_marked_as_not_sealed(tree, tmp_path):
    path = tmp_path / "film.nc"
    tree.to_dataset(inherit=False).to_netcdf(path)
    with pytest.warns(CntbenchWarning, match="film.nc: has no checksum") as told:
        result = open_results(path)
    assert len(told) == 1
    assert result.attrs[UNSEALED]
    with pytest.raises(StorageError, match="not written by cntbench"):
        open_sealed(path)
    write_results(result, tmp_path / "sealed.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_results(tmp_path / "sealed.nc").attrs[UNSEALED], "the mark stays"


@pytest.mark.parametrize("odd", ["no task", "flat influence", "a newer schema"])
def test_what_is_odd_and_not_sealed_is_refused(tree, tmp_path, odd):
    groups = {"/": groups_of(tree)["/"]}
    ROOTS[odd](groups)
    with pytest.raises(StorageError, match="has no checksum, so it was not written by cntbench"):
        open_results(write_groups(groups, tmp_path / "odd.nc", seal=False))


def _declaring(path, *, shape, chunks=None, contiguous=False):
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        dims = [file.createDimension(f"d{n}", size).name for n, size in enumerate(shape)]
        packed = {"zlib": True, "chunksizes": chunks} if chunks else {"contiguous": contiguous}
        file.createVariable("influence", "f4", dims, **packed)


@pytest.mark.parametrize(
    "form",
    [
        {"shape": (2_000_000, 1_000_000), "contiguous": True},
        {"shape": (1250, 1_000_000), "chunks": (1, 1_000_000)},
    ],
    ids=["8 TB", "5 GB of which nothing was written"],
)
def test_a_file_that_declares_more_than_it_can_hold_is_not_read(tmp_path, monkeypatch, form):
    _declaring(tmp_path / "large.nc", **form)
    monkeypatch.setattr("cntbench.results.netcdf._stored", None)
    with pytest.raises(StorageError, match=r"large\.nc: .* declares [58]\.0 [TG]B.*influence"):
        open_results(tmp_path / "large.nc")


def test_a_file_that_is_larger_than_the_memory_is_not_read(tree, tmp_path, monkeypatch):
    path = write_groups(groups_of(tree), tmp_path / "large.nc")
    monkeypatch.setattr("cntbench.results.netcdf._memory", lambda: 10_000)
    with pytest.raises(StorageError, match=r"this machine has 10\.0 kB of memory"):
        open_results(path)


def test_nothing_packs_so_well_that_it_is_taken_for_a_false_declaration(tmp_path):
    """A large film of gaps is one number, over and over."""
    film = random_film(names=[f"step{n}" for n in range(100)], layers=6, heads=8, tasks=("a", "b"))
    for variable in film.data_vars.values():
        if variable.dtype.kind == "f":
            variable[:] = np.nan
    write_results(xr.DataTree(film), tmp_path / "gaps.nc")
    assert open_results(tmp_path / "gaps.nc").sizes["checkpoint"] == 100
