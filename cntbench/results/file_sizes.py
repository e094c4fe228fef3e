"""Check the size that a result file declares before any of it is read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import xarray as xr
from rich.filesize import decimal

from cntbench.errors import StorageError

#: Bound on the compression ratio of deflate (1032), with room for headers. No file holds more.
_MOST_PACKED = 1100
#: Memory of a label [bytes].
_LABEL = 64


def check_size(path: Path) -> None:
    """Compare the size that a file declares with its length and with this machine's memory.

    Raises
    ------
    StorageError
        If it declares more than its bytes, or this machine, can hold.
    OSError
        If it is not a netCDF file. xarray may raise other errors.
    """
    # xarray, unlike HDF5, is safe among threads. Default indexes would read data.
    groups = xr.open_groups(path, engine="netcdf4", decode_cf=False, create_default_indexes=False)
    sizes = dict(_sizes(groups))
    for group in groups.values():
        group.close()
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


def _sizes(groups: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, int]]:
    """Yield the memory of each variable [bytes], by its path."""
    for path, group in groups.items():
        for name, variable in group.variables.items():
            size = _LABEL if variable.dtype.kind == "O" else variable.dtype.itemsize
            yield f"{path.rstrip('/')}/{name}", size * math.prod(variable.shape)


def _memory() -> int:
    """Return this machine's memory [bytes]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
