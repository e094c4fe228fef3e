"""Weighted global efficiency: the mean over feasible edges of 1 / d(i, j).

d(i, j) is the length of the shortest path from i to j, where the length of an edge is 1 / w; 1 / d
is 0 if there is no path. Detours count, so the efficiency is at least the mean weight. NaN for
graphs without feasible edges. Source: Latora and Marchiori 2001, "Efficient behavior of small-world
networks"; the mean here is over the pairs between which the architecture allows an edge.

>>> import numpy as np
>>> from cntbench.metrics._paths import distances
>>> weights = np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> float(compute(weights, distance=distances(weights)).round(3))
0.611
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.metrics._paths import with_lengths

METRIC = Metric(
    per="graph", lower=0, upper=np.inf, degree=1, null="layer_pairs", needs=("distance",)
)


def compute(weights: Array, *, distance: Array) -> Array:
    """Return the efficiency of every graph."""

    def batch_efficiency(batch: Array, distance: Array) -> Array:
        feasible = ~np.isnan(batch)
        nearness = 1 / np.where(feasible, distance, np.inf)
        return divide(nearness.sum(axis=(0, 1)), feasible.sum(axis=(0, 1)))

    return batched_last(batch_efficiency, weights, distance)


def reference(graph: nx.DiGraph) -> float:
    """Sum the inverse length of networkx's shortest path between the ends of every edge."""
    if not graph.number_of_edges():
        return float("nan")
    distance = dict(nx.all_pairs_dijkstra_path_length(with_lengths(graph), weight="length"))
    total = sum(1 / distance[i][j] for i, j in graph.edges if j in distance[i])
    return total / graph.number_of_edges()
