"""The digest at the end of a netCDF file: what damages it, and what other libraries do with it."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr

from cntbench.errors import StorageError
from cntbench.files.output import has_attribute
from cntbench.files.trailer import append_digest, is_intact
from cntbench.results import storage
from cntbench.results.storage import CHECKSUM, read_netcdf, write_netcdf


@pytest.fixture
def path(tmp_path):
    dataset = xr.Dataset({"x": ("n", np.arange(3.0)), "name": ("n", ["a", "b", "ç"])})
    write_netcdf({"/": dataset, "/group": dataset}, tmp_path / "a.nc")
    return tmp_path / "a.nc"


def test_the_checksum_of_an_earlier_file_is_replaced(path, tmp_path):
    with xr.open_dataset(path) as opened:
        changed = opened.load().assign(x=opened["x"] + 1)
    write_netcdf({"/": changed}, tmp_path / "b.nc")
    groups, sealed = read_netcdf(tmp_path / "b.nc")
    assert sealed
    xr.testing.assert_equal(groups["/"], changed)
    assert changed.attrs == opened.attrs


def test_no_library_parses_a_file_with_a_damaged_byte(path, monkeypatch):
    content = path.read_bytes()
    monkeypatch.setattr(storage, "read_groups", lambda _: pytest.fail("HDF5 parses damaged bytes"))
    monkeypatch.setattr(netCDF4, "Dataset", lambda *_: pytest.fail("HDF5 parses damaged bytes"))
    recognises = has_attribute(CHECKSUM)
    for position in np.random.default_rng(0).integers(0, len(content) - 80, 200).tolist():
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(StorageError, match=r"a\.nc: is damaged: its bytes do not match"):
            read_netcdf(path)
        assert not recognises(path)


def test_a_damaged_digest_is_found_or_was_not_needed(path):
    content = path.read_bytes()
    for position in range(len(content) - 80, len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        in_digest = position >= len(content) - 64
        assert is_intact(path) == (not in_digest)
    for cut in (1, 40, 64):
        path.write_bytes(content[:-cut])
        assert not is_intact(path)
    path.write_bytes(content + b"0")
    assert not is_intact(path)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 3 * 2**20])
def test_files_of_any_size_get_a_digest_and_those_without_one_are_left_to_libraries(
    tmp_path, content
):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert is_intact(path)
    append_digest(path)
    assert is_intact(path)
    assert path.read_bytes().startswith(content)
    if content:
        path.write_bytes(path.read_bytes()[1:])
        assert not is_intact(path)


def test_other_libraries_read_the_file_and_cut_the_digest_off_when_they_change_it(path):
    with xr.open_dataset(path) as dataset:
        assert list(dataset["name"].values) == ["a", "b", "ç"]
    size = path.stat().st_size
    for change in (
        lambda file: file.variables["x"].__setitem__(0, 7.0),
        lambda file: file.setncattr("added", "text " * 100),
    ):
        with netCDF4.Dataset(path, "a") as file:
            change(file)
        assert is_intact(path)
        assert b"cntbench sha256" not in path.read_bytes()
    assert path.stat().st_size != size
    with pytest.raises(StorageError, match="does not match its checksum"):
        read_netcdf(path)
