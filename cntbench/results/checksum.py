"""The checksum of a result's content, whatever library wrote it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr


def content_checksum(tree: xr.DataTree) -> str:
    """Return the SHA-256 over all groups, variables and attributes."""
    return checksum({group.path: group.to_dataset(inherit=False) for group in tree.subtree})


def checksum(groups: Mapping[str, xr.Dataset]) -> str:
    """Return the SHA-256 over groups by path, their variables and attributes."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(json.dumps([str(part) for part in parts]).encode())

    for path, dataset in sorted(groups.items()):
        add("group", path, _canonical(dataset.attrs))
        for name, variable in sorted(dataset.variables.items(), key=lambda item: str(item[0])):
            values = variable.values
            add(name, variable.dims, variable.shape, _canonical(variable.attrs))
            if values.dtype.kind in "fiu":
                add(values.dtype)
                digest.update(np.ascontiguousarray(values).tobytes())
            else:
                add(*values.flat)
    return digest.hexdigest()


def _canonical(attributes: dict[Any, Any]) -> str:
    plain = {
        str(key): value.item() if isinstance(value, np.generic) else value
        for key, value in attributes.items()
    }
    return json.dumps(plain, sort_keys=True, default=str)
