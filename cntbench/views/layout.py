"""Positions of components: a column for each layer, heads above the MLP, influence to the right.

In sequential blocks, where heads reach the MLP of their layer, the MLP is half a column further to
the right, so that every edge points to the right. Experts stand where the MLP would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Components, their positions, and the edges between them.

    Parameters
    ----------
    component
        Names in causal order, ``L2.H3``, ``L2.MLP`` or ``L2.E3``.
    layer
        Dims ``component``.
    kind
        ``head``, ``MLP`` or ``expert``, dims ``component``.
    depth
        Position along the flow of influence, from 0; dims ``component``.
    height
        Position across the flow, centred on 0 in every column; dims ``component``.
    source, target
        Indices of the components that the feasible edges join, dims ``edge``.
    """

    component: tuple[str, ...]
    layer: NDArray[np.int64]
    kind: tuple[str, ...]
    depth: Array
    height: Array
    source: NDArray[np.int64]
    target: NDArray[np.int64]


def layout(root: xr.Dataset) -> Layout:
    """Lay out the components of a film.

    An edge is feasible if its influence is a number anywhere in the film; in one without any
    number, if the target is in a later layer.
    """
    layer = np.asarray(root["source_layer"].values, dtype=np.int64)
    kind = tuple(map(str, root["source_kind"].values))
    feasible = root["influence"].notnull().any(["task", "ablation", "checkpoint"]).values
    if not feasible.any():
        feasible = layer[:, None] < layer
    heads = np.array(kind) == "head"
    sequential = (feasible & (layer[:, None] == layer)).any()
    depth = layer + 0.5 * (~heads & sequential)
    height = np.zeros(len(layer))
    for column in np.unique(depth):
        members = np.flatnonzero(depth == column)
        height[members] = (len(members) - 1) / 2 - np.arange(len(members))
    source, target = np.nonzero(feasible)
    return Layout(
        component=tuple(map(str, root["source"].values)),
        layer=layer,
        kind=kind,
        depth=depth.astype(np.float64),
        height=height,
        source=source,
        target=target,
    )
