"""Shortest paths, where the length of an edge is the inverse of its weight.

Feasible edges form no cycle, so one pass over the stages of the graph finds all paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import TIE, Array
from cntbench.metrics._batches import batched_last


@dataclass(frozen=True)
class Stages:
    """The nodes in causal order; the nodes of a stage have no edges among themselves.

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
        """Return the stages of the edges that are feasible in any of the graphs.

        Raises a `ValueError` if the feasible edges form a cycle.
        """
        leading = tuple(range(weights.ndim - 2))
        feasible = np.asarray((~np.isnan(weights)).any(axis=leading))
        stage = np.zeros(len(feasible), dtype=np.intp)
        for _ in range(len(feasible) + 1):
            after = np.where(feasible, stage[:, None] + 1, 0).max(axis=0, initial=0)
            if (after == stage).all():
                break
            stage = after
        else:
            raise ValueError("the feasible edges form a cycle")
        starts = np.searchsorted(np.sort(stage), range(stage.max(initial=-1) + 2))
        return cls(np.argsort(stage, kind="stable"), tuple(pairwise(starts.tolist())))

    def sort(self, values: Array) -> Array:
        """Bring ``source, target, graph`` into causal order."""
        return values[np.ix_(self.order, self.order)]

    def restore(self, values: Array) -> Array:
        """Bring ``source, target, graph`` from causal order into the order of the graph."""
        return values[np.ix_(self.inverse, self.inverse)]

    @property
    def inverse(self) -> NDArray[np.intp]:
        """Where each node stands in causal order."""
        return np.argsort(self.order)


def lengths(weights: Array) -> Array:
    """Return 1 / weight; infinite where there is no weight."""
    with np.errstate(divide="ignore"):
        return 1 / np.fmax(weights, 0)


def distances(weights: Array) -> Array:
    """Return the length of the shortest path between every two nodes.

    Parameters
    ----------
    weights
        Dims ``…, source, target``; NaN where there is no edge.

    Returns
    -------
    numpy.ndarray
        Dims ``…, source, target``; 0 from a node to itself, infinite where there is no path.

    Examples
    --------
    >>> distances(np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3]))
    array([[ 0.,  2.,  3.],
           [inf,  0.,  1.],
           [inf, inf,  0.]])
    """
    stages = Stages.of(weights)

    def batch_distances(batch: Array) -> Array:
        length = lengths(stages.sort(batch))
        distance = np.full(length.shape, np.inf)
        nodes = np.arange(len(length))
        distance[nodes, nodes] = 0
        for start, stop in stages.bounds[1:]:
            through = distance[:start, :start, None] + length[None, :start, start:stop]
            distance[:start, start:stop] = through.min(axis=1)
        return stages.restore(distance)

    return batched_last(batch_distances, weights)


def last_steps(length: Array, distance: Array, start: int, stop: int) -> NDArray[np.bool_]:
    """Return whether each edge into a stage is the last one of a shortest path.

    Parameters
    ----------
    length, distance
        Edge lengths and distances of graphs in causal order, dims ``source, target, graph``.
    start, stop
        Where the stage starts and stops.

    Returns
    -------
    numpy.ndarray
        Dims ``source, predecessor, target, graph``: whether a shortest path from the source to the
        target, a node of the stage, ends with the edge from the predecessor.
    """
    through = distance[:start, :start, None] + length[None, :start, start:stop]
    shortest = distance[:start, start:stop]
    longest = np.where(np.isinf(shortest), 0, shortest * (1 + TIE))
    return through <= longest[:, None]


def passed_on(shares: Array, stages: Stages) -> Array:
    """Solve x_j = 1 + Σ_i shares_ij x_i for all graphs, dims ``component, graph``.

    Takes shares, dims ``source, target, graph``; 0 where there is no edge.
    """
    shares = stages.sort(shares)
    values = np.ones(shares.shape[1:])
    for start, stop in stages.bounds[1:]:
        values[start:stop] += (shares[:start, start:stop] * values[:start, None]).sum(axis=0)
    return values[stages.inverse]


def with_lengths(graph: nx.DiGraph) -> nx.DiGraph:
    """Return the graph of the edges with weight, each with its ``length``, for references."""
    weighted: nx.DiGraph = nx.DiGraph()
    weighted.add_nodes_from(graph)
    for source, target, weight in graph.edges(data="weight"):
        if weight > 0:
            weighted.add_edge(source, target, weight=weight, length=1 / weight)
    return weighted
