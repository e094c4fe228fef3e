"""The film: the component graph of one task by one ablation, at every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.metrics._base import divide

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
    """Lay out the components: a column for each layer, heads above the MLP, influence to the right.

    In sequential blocks, where heads reach the MLP of their layer, the MLP is half a column further
    to the right, so that every edge points to the right. Experts stand where the MLP would.

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


@dataclass(frozen=True)
class FilmView:
    """A graph over training.

    Parameters
    ----------
    task, ablation
        The cell.
    layout
        Components and edges.
    checkpoint
        Names, dims ``checkpoint``.
    step
        Dims ``checkpoint``.
    status
        Of each checkpoint, dims ``checkpoint``.
    weight, error
        Influence and its standard error, dims ``checkpoint, edge``; NaN where not measured.
    sent, received
        Mean influence over a component's feasible edges, dims ``checkpoint, component``; NaN
        without such edges and where not measured.
    """

    task: str
    ablation: str
    layout: Layout
    checkpoint: tuple[str, ...]
    step: NDArray[np.int64]
    status: tuple[str, ...]
    weight: Array
    error: Array
    sent: Array
    received: Array

    def strongest(self, checkpoint: int, count: int) -> NDArray[np.int64]:
        """Return the indices of the strongest edges at a checkpoint, strongest first.

        At most ``count``; edges that are 0 or not measured are left out.
        """
        weights = np.nan_to_num(self.weight[checkpoint])
        order = np.argsort(-weights, kind="stable")[:count]
        return order[weights[order] > 0]

    def matrix(self, checkpoint: int) -> Array:
        """Return influence at a checkpoint, dims ``source, target``; NaN where there is none."""
        matrix = np.full((len(self.layout.component),) * 2, np.nan)
        matrix[self.layout.source, self.layout.target] = self.weight[checkpoint]
        return matrix


def film(tree: xr.DataTree, task: str, ablation: str) -> FilmView:
    """Return the film of one task by one ablation."""
    root = tree.to_dataset(inherit=False)
    places = layout(root)
    cell = root[["influence", "influence_se", "status"]].sel(task=task, ablation=ablation)
    matrix = cell["influence"].variable.transpose("checkpoint", "source", "target").values
    errors = cell["influence_se"].variable.transpose("checkpoint", "source", "target").values
    measured = ~np.isnan(matrix)
    sent, received = (
        divide(np.nansum(matrix, axis=axis, dtype=np.float64), measured.sum(axis=axis))
        for axis in (2, 1)
    )
    return FilmView(
        task=task,
        ablation=ablation,
        layout=places,
        checkpoint=tuple(map(str, cell["checkpoint"].values)),
        step=np.asarray(cell["step"].values, dtype=np.int64),
        status=tuple(map(str, cell["status"].values)),
        weight=matrix[:, places.source, places.target].astype(np.float64),
        error=errors[:, places.source, places.target].astype(np.float64),
        sent=sent,
        received=received,
    )
