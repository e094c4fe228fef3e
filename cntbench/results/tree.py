"""A result as a tree: the film, groups with its coordinates along dims, and their checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from cntbench.results.schema import COORDINATES

#: Dims of groups that are as long as a dim of the film.
LIKE = {"component": "source", "other_checkpoint": "checkpoint"}
#: Coordinates that only the film has.
_OF_FILMS = ("revision",)


def film_coordinates(root: xr.Dataset, dims: Collection[Hashable]) -> dict[str, xr.Variable]:
    """Return the coordinates of a film along dims of a group, by their names there.

    Along ``component`` and ``other_checkpoint``, they are ``component_layer``, ``other_step``, ….
    """
    own_dims = {
        name: root.variables[name]
        for name, about in COORDINATES.items()
        if name in root.coords and name not in _OF_FILMS and root.variables[name].dims == about.dims
    }
    coordinates = {name: value for name, value in own_dims.items() if {*value.dims} <= {*dims}}
    for dim, like in LIKE.items():
        for name, value in own_dims.items() if dim in dims else ():
            if value.dims == (like,):
                label = name.replace(like, dim) if name.startswith(like) else f"other_{name}"
                coordinates[label] = value.to_base_variable().copy(deep=False)
                coordinates[label].dims = (dim,)
    return coordinates


def with_film_coordinates(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return groups, with the film named ``/``, in which derived groups have its coordinates."""
    root = groups["/"]
    return {
        name: group
        if name == "/"
        else group.assign_coords(
            {
                coordinate: values
                for coordinate, values in film_coordinates(root, group.dims).items()
                if coordinate not in group.variables
            }
        )
        for name, group in groups.items()
    }


def groups_of(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the groups of a tree by path; derived groups have the film's coordinates."""
    return with_film_coordinates(
        {group.path: group.to_dataset(inherit=False) for group in tree.subtree}
    )


def result_tree(groups: Mapping[str, xr.Dataset]) -> xr.DataTree:
    """Return a result whose derived groups have the film's coordinates."""
    return xr.DataTree.from_dict(with_film_coordinates(groups))


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
