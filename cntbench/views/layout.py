"""Where components are drawn: a column for each layer, heads above the MLP, influence to the right.

Where the heads of a layer reach its MLP (sequential blocks), the MLP stands half a column further
on, so that every edge points the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Components, their places, and the edges between them.

    Parameters
    ----------
    component
        Names in causal order, ``L2.H3`` or ``L2.MLP``.
    layer
        Dims ``component``.
    kind
        ``head`` or ``MLP``, dims ``component``.
    depth
        Along which influence flows, from 0; dims ``component``.
    height
        Across, centred on 0 in every column; dims ``component``.
    source, target
        Numbers of the components that the feasible edges join, dims ``edge``.
    """

    component: tuple[str, ...]
    layer: NDArray[np.int64]
    kind: tuple[str, ...]
    depth: Array
    height: Array
    source: NDArray[np.int64]
    target: NDArray[np.int64]


def layout(root: xr.Dataset) -> Layout:
    """Lay the components of a result out.

    Parameters
    ----------
    root
        The film. An edge is feasible if its influence is a number anywhere in it; in a film without
        any number, all from a component to later layers are.
    """
    layer = np.asarray(root["source_layer"].values, dtype=np.int64)
    kind = tuple(map(str, root["source_kind"].values))
    there = root["influence"].notnull().any(["task", "ablation", "checkpoint"]).values
    if not there.any():
        there = layer[:, None] < layer
    heads = np.array([one == "head" for one in kind])
    apart = (there & (layer[:, None] == layer)).any()
    depth = layer + 0.5 * (~heads & apart)
    height = np.zeros(len(layer))
    for column in np.unique(depth):
        members = np.flatnonzero(depth == column)
        height[members] = (len(members) - 1) / 2 - np.arange(len(members))
    source, target = np.nonzero(there)
    return Layout(
        component=tuple(map(str, root["source"].values)),
        layer=layer,
        kind=kind,
        depth=depth.astype(np.float64),
        height=height,
        source=source,
        target=target,
    )
