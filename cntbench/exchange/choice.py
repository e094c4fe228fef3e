"""The part of a result to export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from cntbench.results.selection import indices_of


def chosen(tree: xr.DataTree, names: Mapping[str, Sequence[str] | None]) -> xr.DataTree:
    """Select tasks, ablations and checkpoints of a result, in all of its groups.

    Parameters
    ----------
    tree
        A result.
    names
        Labels to keep, by dim; None keeps all.

    Raises
    ------
    CntbenchError
        If a label does not exist (it names the nearest one) or occurs twice.
    """
    root = tree.to_dataset(inherit=False)
    indices = {
        dim: sorted(indices_of(root, dim, labels))
        for dim, labels in names.items()
        if labels is not None
    }
    if not indices:
        return tree
    groups = {
        node.path: node.to_dataset(inherit=False).isel(indices, missing_dims="ignore")
        for node in tree.subtree
    }
    return xr.DataTree.from_dict(groups)
