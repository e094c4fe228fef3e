"""Reuse of what was computed before: a hash of the content and of the code that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.plugins.folders import folders_in_use

#: Attribute of a group with the hash of what it was computed from.
MADE_OF = "made_of_sha256"


def made_of(content: object, rooms: Iterable[str]) -> str:
    """Return the SHA-256 of content, plain data, of cntbench's code, and of plug-ins in rooms."""
    versions = [np.__version__, xr.__version__, _code()]
    digest = hashlib.sha256(json.dumps([content, versions], sort_keys=True).encode())
    rooms = tuple(rooms)
    for folder in folders_in_use():
        for name, content in folder.files_of(rooms):
            digest.update(name.encode() + content)
    return digest.hexdigest()


@cache
def _code() -> str:
    """Return the SHA-256 of the code of cntbench."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def reusable(
    earlier: xr.DataTree | None, names: Iterable[str], made_of_sha256: str
) -> dict[str, xr.Dataset] | None:
    """Return groups of an earlier result, or None unless all were computed from the same."""
    groups: dict[str, xr.Dataset] = {}
    for name in names:
        group = earlier.children.get(name) if earlier is not None else None
        if group is None or group.attrs.get(MADE_OF) != made_of_sha256:
            return None
        groups[name] = group.to_dataset(inherit=False)
    return groups
