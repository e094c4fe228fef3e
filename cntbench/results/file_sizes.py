"""How much a result file says it holds, looked at before any of it is read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import xarray as xr
from rich.filesize import decimal

from cntbench.errors import StorageError

#: Most that deflate, by which results are packed, makes of a byte (1032), with room for headers.
#: What is declared beyond that was never written.
_MOST_PACKED = 1100
#: Memory that a label takes [bytes].
_LABEL = 64


def check_size(path: Path) -> None:
    """Hold what a file declares against its own length and this machine's memory.

    Raises
    ------
    StorageError
        If it declares more than its bytes can hold, or more than this machine can.
    OSError
        If it is no netCDF file. xarray may raise others.
    """
    # By xarray, which keeps threads apart: HDF5 does not. Indexes would be read.
    groups = xr.open_groups(path, engine="netcdf4", decode_cf=False, create_default_indexes=False)
    sizes = dict(_sizes(groups))
    for group in groups.values():
        group.close()
    total, length, memory = sum(sizes.values()), path.stat().st_size, _memory()
    if total <= min(_MOST_PACKED * length, memory):
        return
    largest = max(sizes, key=lambda name: sizes[name])
    found = f"declares {decimal(total)}, most of it in variable {largest!r}"
    if total > _MOST_PACKED * length:
        raise StorageError(
            f"is damaged or was not written by cntbench: it {found}, and has {decimal(length)}",
            where=str(path),
            hint=f"A byte of a result file holds at most {_MOST_PACKED} bytes of numbers.",
        )
    raise StorageError(
        f"{found}, and this machine has a memory of {decimal(memory)}",
        where=str(path),
        hint="Select a part of it with xarray, or take a larger machine.",
    )


def _sizes(groups: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, int]]:
    """Yield what each variable takes in memory [bytes], by its path."""
    for path, group in groups.items():
        for name, variable in group.variables.items():
            size = _LABEL if variable.dtype.kind == "O" else variable.dtype.itemsize
            yield f"{path.rstrip('/')}/{name}", size * math.prod(variable.shape)


def _memory() -> int:
    """Return this machine's memory [bytes]."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
