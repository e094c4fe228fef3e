"""Reading and writing all groups of a netCDF file at once, compressed, with its size checked.

xarray's own functions reopen the file for each group, and HDF5 updates its tables after each
variable; with many small variables, that takes several times as long.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from rich.filesize import decimal
from xarray.conventions import decode_cf_variables

from cntbench.errors import StorageError
from cntbench.results.schema import KEPT


class _Writer:
    """Keeps what xarray asks to be written until every variable is defined."""

    def __init__(self) -> None:
        self.writes: list[tuple[Any, Any]] = []

    def add(self, source: Any, target: Any) -> None:
        """Note that an array goes into a variable."""
        self.writes.append((source, target))

    def write(self) -> None:
        """Write all arrays."""
        for source, target in self.writes:
            target[...] = source


def write_groups(groups: Mapping[str, xr.Dataset], path: Path, *, mark: str) -> None:
    """Write groups, with ``/`` among them, and an unused dimension of size 1 called ``mark``."""
    from xarray.backends import NetCDF4DataStore
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

    writer = _Writer()
    # The lock that xarray would choose itself imports Dask's scheduler where Dask is installed.
    store = NetCDF4DataStore.open(  # type: ignore[no-untyped-call]
        path, mode="w", lock=NETCDF4_PYTHON_LOCK
    )
    try:
        # One by one: a tree would leave out what groups share with the root.
        for name, group in {"/": groups["/"], **groups}.items():
            with_ordered_attributes(group).dump_to_store(
                store.get_child_store(name), writer=writer, encoding=encoding(group)
            )
        writer.write()
        store.ds.createDimension(mark, 1)
    finally:
        store.close()


def read_groups(path: Path) -> dict[str, xr.Dataset]:
    """Read all groups into memory, once the size that the file declares has been checked.

    Raises
    ------
    StorageError
        If it declares more than its bytes, or this machine, can hold.
    Exception
        Whatever the libraries raise for a damaged file.
    """
    import netCDF4
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

    # HDF5 is not safe among threads.
    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path) as file:
        check_size(file, path)
        file.set_auto_maskandscale(False)  # xarray decodes
        file.set_auto_chartostring(False)
        return dict(_groups(file))


def _groups(group: Any, path: str = "/") -> Iterator[tuple[str, xr.Dataset]]:
    """Yield a group of an open file and all below it, by their paths."""
    attributes = {key: group.getncattr(key) for key in group.ncattrs()}
    variables, decoded, coordinates = decode_cf_variables(_stored(group), attributes)
    dataset = xr.Dataset(variables, attrs=decoded)
    dataset = dataset.set_coords(coordinates & variables.keys()).load()
    # The file's encoding, such as its longest label, does not fit data derived from it.
    dataset.encoding = {}
    for variable in dataset.variables.values():
        variable.encoding = {}
    yield path, dataset
    for name, below in group.groups.items():
        yield from _groups(below, f"{path.rstrip('/')}/{name}")


def _stored(group: Any) -> dict[str, xr.Variable]:
    """Return the variables of an open group as they are stored."""
    return {
        name: xr.Variable(
            variable.dimensions, _values(variable), _attributes(variable), {"dtype": variable.dtype}
        )
        for name, variable in group.variables.items()
    }


def _values(variable: Any) -> Any:
    """Return the values of a variable; text as xarray decodes it, which would convert it twice."""
    values = variable[...]
    plain = variable.dtype is str and not {"_FillValue", "missing_value"} & {*variable.ncattrs()}
    return np.asarray(values, object).astype(str) if plain else values


def _attributes(variable: Any) -> dict[str, Any]:
    """Return the attributes of a variable, without NaN for NaN, which costs time to decode."""
    attributes = {key: variable.getncattr(key) for key in variable.ncattrs()}
    fill = attributes.get("_FillValue")
    if isinstance(fill, np.floating) and np.isnan(fill):
        del attributes["_FillValue"]
    return attributes


#: Most of a variable that is not compressed [bytes]: the tables of its chunks take more.
_SMALL = 4096
#: Largest chunk of what is kept of single prompts and positions [bytes].
_CHUNK = 2**22


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the encoding of the variables of a group, as xarray takes it."""
    return {
        str(name): {"zlib": True, "complevel": 4, "shuffle": True, **_chunks(str(name), variable)}
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind == "f" and (variable.nbytes > _SMALL or name in KEPT)
    }


def _chunks(name: str, variable: xr.DataArray) -> dict[str, Any]:
    """Return chunks for results of single prompts: a few sources of one cell of the film."""
    if name not in KEPT:
        return {}
    sizes = {str(dim): max(1, size) for dim, size in variable.sizes.items()}
    chunks = sizes | {dim: 1 for dim in ("task", "ablation", "checkpoint") if dim in sizes}
    n_bytes = math.prod(chunks.values()) * variable.dtype.itemsize
    if "source" in chunks:
        chunks["source"] = max(1, min(chunks["source"], chunks["source"] * _CHUNK // n_bytes))
    return {"chunksizes": tuple(chunks.values())}


def with_ordered_attributes(dataset: xr.Dataset) -> xr.Dataset:
    """Return a group whose variables have their attributes sorted by name.

    HDF5 returns the attributes of a variable in any order; this makes a rewritten result have the
    same bytes.
    """
    ordered = dataset.copy()
    for variable in ordered.variables.values():
        variable.attrs = dict(sorted(variable.attrs.items()))
    return ordered


#: Bound on the compression ratio of deflate (1032), with room for headers. No file holds more.
_MOST_PACKED = 1100
#: Memory of a label [bytes].
_LABEL = 64


def check_size(file: Any, path: Path) -> None:
    """Raise a `StorageError` if an open file declares more than it, or this machine, can hold."""
    sizes = dict(_sizes(file))
    total, length, memory = sum(sizes.values()), path.stat().st_size, _memory()
    if total <= min(_MOST_PACKED * length, memory):
        return
    largest = max(sizes, key=lambda name: sizes[name])
    claim = f"declares {decimal(total)}, most of it in variable {largest!r}"
    if total > _MOST_PACKED * length:
        raise StorageError(
            f"is damaged or was not written by cntbench: it {claim}, and has {decimal(length)}",
            where=str(path),
            hint=f"A byte of a result file holds at most {_MOST_PACKED} bytes of numbers.",
        )
    raise StorageError(
        f"{claim}, and this machine has {decimal(memory)} of memory",
        where=str(path),
        hint="Select a part of it with xarray, or use a larger machine.",
    )


def _sizes(group: Any, path: str = "") -> Iterator[tuple[str, int]]:
    """Yield the memory of each variable of a netCDF group and those below [bytes], by its path."""
    for name, variable in group.variables.items():
        stored = np.dtype(variable.dtype)
        size = _LABEL if stored.kind in "OU" else stored.itemsize
        yield f"{path}/{name}", size * math.prod(variable.shape)
    for name, below in group.groups.items():
        yield from _sizes(below, f"{path}/{name}")


def _memory() -> int:
    """Return this machine's memory [bytes]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
