"""How variables lie in a result file: compressed, and in which chunks."""

from __future__ import annotations

import math
from typing import Any

import xarray as xr

from cntbench.results.schema import KEPT

#: Largest chunk of what is kept of single prompts and positions [bytes].
_CHUNK = 2**22


def encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the encoding of the variables of a group, as xarray takes it."""
    return {
        str(name): {"zlib": True, "complevel": 4, "shuffle": True, **_chunks(str(name), variable)}
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind == "f" and variable.ndim
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
