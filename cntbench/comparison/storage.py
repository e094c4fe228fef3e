"""The file that ``cntbench compare -o`` writes."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from cntbench.comparison.files import FILES_TITLE
from cntbench.comparison.table import TITLE
from cntbench.errors import StorageError
from cntbench.files.output import FileKind, file_status, has_attribute
from cntbench.results.group_schema import GROUPS, validate_contents
from cntbench.results.storage import read_netcdf

#: The file that ``cntbench compare -o`` writes.
COMPARISON = FileKind(
    "a comparison of ablation methods", has_attribute("title", TITLE, FILES_TITLE)
)
_MAKE = "Make one: cntbench compare -o FILE."


def open_comparison(path: Path) -> xr.Dataset:
    """Read a comparison into memory.

    Raises
    ------
    StorageError
        If the file is missing, damaged, or not a comparison.
    """
    where = str(path)
    if file_status(path) is None:
        raise StorageError("no such file", where=where, hint=_MAKE)
    dataset = read_netcdf(path, hint=_MAKE)[0]["/"]
    if dataset.attrs.get("title") != TITLE or "ablation" not in dataset.coords:
        raise StorageError("is not a comparison of ablation methods", where=where, hint=_MAKE)
    validate_contents(GROUPS["comparison"], dataset, where=where)
    return dataset
