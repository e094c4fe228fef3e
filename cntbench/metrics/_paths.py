"""Shortest paths, where the length of an edge is the inverse of its weight.

Feasible edges form no cycle, so that paths are found in one pass over the stages of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._arithmetic import TIE
from cntbench.metrics._base import Array
from cntbench.metrics._batches import batched


@dataclass(frozen=True)
class Stages:
    """The nodes in causal order; those of one stage have no edges among themselves.

    Parameters
    ----------
    order
        Indices of the nodes, stage by stage.
    bounds
        Where each stage starts and stops in ``order``.
    """

    order: NDArray[np.intp]
    bounds: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, weights: Array) -> Stages:
        """Return the stages of the edges that are feasible in any of some graphs.

        Raises
        ------
        ValueError
            If the feasible edges form a cycle.
        """
        leading = tuple(range(weights.ndim - 2))
        there = np.asarray((~np.isnan(weights)).any(axis=leading))
        stage = np.zeros(len(there), dtype=np.intp)
        for _ in range(len(there) + 1):
            after = np.where(there, stage[:, None] + 1, 0).max(axis=0, initial=0)
            if (after == stage).all():
                break
            stage = after
        else:
            raise ValueError("the feasible edges form a cycle")
        starts = np.searchsorted(np.sort(stage), range(stage.max(initial=-1) + 2))
        pairs = zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
        return cls(np.argsort(stage, kind="stable"), tuple(pairs))

    def sort(self, values: Array) -> Array:
        """Bring ``…, source, target`` into causal order."""
        return values[..., self.order[:, None], self.order]

    def restore(self, values: Array) -> Array:
        """Bring ``…, source, target`` from causal order into that of the graph."""
        back = np.argsort(self.order)
        return values[..., back[:, None], back]


def lengths(weights: Array) -> Array:
    """Return 1 / weight; infinite where there is no weight."""
    found = np.full(weights.shape, np.inf)
    return np.divide(1, weights, out=found, where=weights > 0)


def distances(weights: Array) -> Array:
    """Return the length of the shortest path between every two nodes.

    Parameters
    ----------
    weights
        Dims ``…, source, target``; NaN where there is no edge.

    Returns
    -------
    numpy.ndarray
        Dims ``…, source, target``; 0 from a node to itself, infinite where no path leads.

    Examples
    --------
    >>> distances(np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3]))
    array([[ 0.,  2.,  3.],
           [inf,  0.,  1.],
           [inf, inf,  0.]])
    """
    stages = Stages.of(weights)

    def few(some: Array) -> Array:
        length = lengths(stages.sort(some))
        found = np.full(length.shape, np.inf)
        each = np.arange(length.shape[-1])
        found[:, each, each] = 0
        for start, stop in stages.bounds[1:]:
            through = found[:, :start, :start, None] + length[:, None, :start, start:stop]
            found[:, :start, start:stop] = through.min(axis=2)
        return stages.restore(found)

    return batched(few, weights)


def last_steps(length: Array, distance: Array, start: int, stop: int) -> NDArray[np.bool_]:
    """Return which edges into a stage end a shortest path.

    Parameters
    ----------
    length, distance
        Of graphs in causal order, dims ``graph, source, target``.
    start, stop
        Where the stage starts and stops.

    Returns
    -------
    numpy.ndarray
        Dims ``graph, source, before, target``: whether a shortest path from the source to the
        target, which is in the stage, comes from the node before.
    """
    through = distance[:, :start, :start, None] + length[:, None, :start, start:stop]
    shortest = distance[:, :start, None, start:stop]
    return (through <= shortest * (1 + TIE)) & np.isfinite(shortest)


def with_lengths(graph: nx.DiGraph) -> nx.DiGraph:
    """Return the graph of the edges that have weight, each with its ``length``: for references."""
    found: nx.DiGraph = nx.DiGraph()
    found.add_nodes_from(graph)
    for source, target, weight in graph.edges(data="weight"):
        if weight > 0:
            found.add_edge(source, target, weight=weight, length=1 / weight)
    return found
