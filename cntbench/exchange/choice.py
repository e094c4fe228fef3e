"""Which part of a result is exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from cntbench.results.selection import indices_of


def chosen(tree: xr.DataTree, names: Mapping[str, Sequence[str] | None]) -> xr.DataTree:
    """Return some tasks, ablations and checkpoints of a result, in all of its groups.

    Parameters
    ----------
    tree
        A result.
    names
        By dim, labels to keep; all where it is None.

    Raises
    ------
    CntbenchError
        If there is no such label; it says the nearest one. If a label stands twice.
    """
    root = tree.to_dataset(inherit=False)
    at = {
        dim: sorted(indices_of(root, dim, labels))
        for dim, labels in names.items()
        if labels is not None
    }
    if not at:
        return tree
    groups = {
        node.path: node.to_dataset(inherit=False).isel(at, missing_dims="ignore")
        for node in tree.subtree
    }
    return xr.DataTree.from_dict(groups)
