"""Result files: whole or not at all, checked when read."""

from __future__ import annotations

import os

import netCDF4
import numpy as np
import pytest
import xarray as xr
from support.films import random_film

from cntbench.errors import StorageError
from cntbench.results.storage import (
    open_results,
    write_atomically,
    write_netcdf,
    write_results,
    write_text,
)
from cntbench.results.tree import checksum as storage_checksum
from cntbench.results.tree import content_checksum, result_tree


@pytest.fixture
def tree() -> xr.DataTree:
    film = random_film()
    extra = xr.Dataset({"gini": (("task", "ablation", "checkpoint"), np.full((1, 2, 3), 0.5))})
    return result_tree({"/": film, "/metrics": extra})


def test_what_is_written_is_read(tree, tmp_path):
    write_results(tree, tmp_path / "results.nc")
    back = open_results(tmp_path / "results.nc")
    assert content_checksum(back) == content_checksum(tree)
    xr.testing.assert_identical(back["metrics"]["gini"].variable, tree["metrics"]["gini"].variable)
    assert np.array_equal(back["influence"], tree["influence"], equal_nan=True)


def test_all_of_a_file_is_read_before_it_is_closed(tmp_path, monkeypatch):
    """What is read later opens the file again, and HDF5 crashes on another one in its place."""
    dims = ("task", "ablation", "checkpoint")
    called_as_its_group = xr.Dataset({"metrics": (dims, np.full((1, 2, 3), 0.5))})
    tree = xr.DataTree.from_dict({"/": random_film(), "/metrics": called_as_its_group})
    write_results(tree, tmp_path / "results.nc")
    later = []

    def checksum(groups):
        for group in groups.values():
            later.extend(name for name, var in group.variables.items() if not var._in_memory)
        return storage_checksum(groups)

    monkeypatch.setattr("cntbench.results.storage.checksum", checksum)
    assert (open_results(tmp_path / "results.nc")["metrics/metrics"] == 0.5).all()
    assert not later


def test_the_file_opens_with_xarray_alone(tree, tmp_path):
    write_results(tree, tmp_path / "results.nc")
    with xr.open_dataset(tmp_path / "results.nc") as dataset:
        assert dataset["influence"].dims == ("task", "ablation", "checkpoint", "source", "target")
        assert list(dataset["source"].values[:2]) == ["L0.H0", "L0.H1"]
        assert dataset.attrs["Conventions"].startswith("CF-")
        assert dataset["influence"].attrs["units"] == "1"


def test_the_same_result_is_the_same_bytes(tree, tmp_path):
    for name in ("a.nc", "b.nc"):
        write_results(tree, tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_numbers_are_compressed_where_that_takes_less_space(tmp_path):
    path = tmp_path / "results.nc"
    few, many = np.zeros(512), np.zeros(513)
    write_netcdf({"/": xr.Dataset({"few": ("x", few), "many": ("y", many)})}, path)
    with netCDF4.Dataset(path) as file:
        assert file["few"].chunking() == "contiguous"
        assert file["many"].filters()["zlib"]


def test_long_labels_survive_a_second_writing(tmp_path):
    """The labels' length in the first file once cut those that were written later."""
    write_results(xr.DataTree(random_film(names=["step1"])), tmp_path / "short.nc")
    short = open_results(tmp_path / "short.nc").to_dataset()
    longer = short.assign_coords(checkpoint=("checkpoint", ["step1000000"], short.checkpoint.attrs))
    write_results(xr.DataTree(longer), tmp_path / "long.nc")
    back = open_results(tmp_path / "long.nc")
    assert back["checkpoint"].item() == "step1000000"


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(tree, tmp_path, keep):
    path = tmp_path / "results.nc"
    write_results(tree, path)
    content = path.read_bytes()
    size = int(keep * len(content)) if isinstance(keep, float) else keep
    path.write_bytes(content[:size])
    with pytest.raises(StorageError, match=r"results\.nc: .*(is empty|truncated|checksum)"):
        open_results(path)


def test_a_changed_number_is_refused(tree, tmp_path):
    import netCDF4

    path = tmp_path / "results.nc"
    write_results(tree, path)
    with netCDF4.Dataset(path, "a") as file:
        file["readout_value"][0, 0, 0] += 1
    with pytest.raises(StorageError, match="checksum"):
        open_results(path)


def test_another_netcdf_file_is_refused(tmp_path):
    xr.Dataset({"x": 1}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(StorageError, match="not written by cntbench"):
        open_results(tmp_path / "other.nc")


def test_a_missing_file_names_the_nearest(tree, tmp_path):
    write_results(tree, tmp_path / "results.nc")
    with pytest.raises(StorageError, match=r"Did you mean 'results\.nc'"):
        open_results(tmp_path / "result.nc")
    with pytest.raises(StorageError, match="is a folder"):
        open_results(tmp_path)


def test_a_failed_write_leaves_the_old_file(tree, tmp_path, monkeypatch):
    path = tmp_path / "results.nc"
    write_results(tree, path)
    before = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_results(tree, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["results.nc"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_that_is_replaced_keeps_its_mode(tree, tmp_path, mode):
    writers = {
        "results.nc": lambda path: write_results(tree, path),
        "page.html": lambda path: write_text(path, "text"),
        "table.csv": lambda path: write_atomically(path, lambda new: new.write_bytes(b"1")),
    }
    for name, write in writers.items():
        path = tmp_path / name
        path.touch()
        path.chmod(mode)
        write(path)
        assert path.stat().st_size
        assert path.stat().st_mode & 0o777 == mode


def test_an_invalid_result_is_never_written(tree, tmp_path):
    tree["influence"].attrs["units"] = "m"
    with pytest.raises(StorageError, match="influence"):
        write_results(tree, tmp_path / "results.nc")
    assert not list(tmp_path.iterdir())


def test_the_checksum_sees_every_part():
    """And nothing else: not the order of variables and attributes, nor the types of texts."""
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    texts = np.array([["ab", "c", ""], ["d", "ab", "e"]], dtype=object)

    def content(values, name="x", path="/below", dims=("a", "b"), at=0, of=0, below=0):
        variables = {name: (dims, values, {"units": "1", "at": at}), "last": ("c", [below])}
        dataset = xr.Dataset(variables, attrs={"title": "t", "of": of})
        return {"/": xr.Dataset(attrs={"seed": 0}), path: dataset}

    def changed(values, other):
        for index in np.ndindex(values.shape):
            new = values.copy()
            new[index] = other
            yield new

    both = (numbers, texts)
    contents = [
        *(content(values) for values in (*both, *changed(numbers, 9), *changed(texts, "abc"))),
        *(content(values) for values in (numbers.view(np.int32), numbers.astype(np.float64))),
        *(content(np.array([["a", "bc", ""], ["d", "ab", "e"]])),),
        *(content(values.reshape(3, 2)) for values in both),
        *(content(values, **{key: "other"}) for values in both for key in ("name", "path")),
        *(content(values, dims=("a", "d")) for values in both),
        *(content(values, **{key: 1}) for values in both for key in ("at", "of", "below")),
        *({**content(values), "/": xr.Dataset(attrs={"seed": 1})} for values in both),
    ]
    assert len({storage_checksum(groups) for groups in contents}) == len(contents)

    def turned(mapping):
        return dict(reversed([*mapping.items()]))

    def in_another_order(groups):
        for path, group in turned(groups).items():
            variables = turned(group.variables)
            for variable in variables.values():
                variable.attrs = turned(variable.attrs)
            yield path, xr.Dataset(variables, attrs=turned(group.attrs))

    for values, same in ((numbers, numbers), (texts, texts.astype(str))):
        other = dict(in_another_order(content(same, of=np.int64(0))))
        assert storage_checksum(other) == storage_checksum(content(values))


def test_what_a_link_points_to_is_written_and_the_link_stays(tmp_path):
    there, link = tmp_path / "there.txt", tmp_path / "links" / "link.txt"
    link.parent.mkdir()
    there.write_text("old")
    link.symlink_to(there)
    write_text(link, "new")
    assert link.is_symlink()
    assert there.read_text() == "new"
    assert [path.name for path in link.parent.iterdir()] == ["link.txt"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_only_regular_files_are_replaced(tmp_path, make):
    path = tmp_path / "x"
    make(path)
    before = path.stat().st_mode
    with pytest.raises(StorageError, match="only regular files can be written"):
        write_text(path, "new")
    assert path.stat().st_mode == before
