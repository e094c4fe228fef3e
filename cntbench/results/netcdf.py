"""The groups of a netCDF file, read and written in one go.

xarray's own functions reopen the file for each group, and HDF5 updates its tables after each
variable; with many small variables, that takes several times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from cntbench.results.encoding import encoding, with_ordered_attributes
from cntbench.results.file_sizes import check_size


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
    # The file's encoding, such as its longest label, does not fit data derived from it.
    yield path, xr.decode_cf(_stored(group)).load().drop_encoding()
    for name, below in group.groups.items():
        yield from _groups(below, f"{path.rstrip('/')}/{name}")


def _stored(group: Any) -> xr.Dataset:
    """Return the variables of an open group as they are stored."""
    variables = {
        name: xr.Variable(
            variable.dimensions,
            variable[...],
            {key: variable.getncattr(key) for key in variable.ncattrs()},
            {"dtype": variable.dtype},
        )
        for name, variable in group.variables.items()
    }
    return xr.Dataset(variables, attrs={key: group.getncattr(key) for key in group.ncattrs()})
