"""Check the size that a result file declares before any of it is read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal

from cntbench.errors import StorageError

#: Bound on the compression ratio of deflate (1032), with room for headers. No file holds more.
_MOST_PACKED = 1100
#: Memory of a label [bytes].
_LABEL = 64


def check_size(file: Any, path: Path) -> None:
    """Compare the size that an open file declares with its length and with this machine's memory.

    Raises
    ------
    StorageError
        If it declares more than its bytes, or this machine, can hold.
    """
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
