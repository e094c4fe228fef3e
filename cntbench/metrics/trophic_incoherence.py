"""How far influence is from going up one level per edge: 0 if every edge does.

Components that receive nothing have level 1, every other one a level more than the mean of those
that influence it, s_j = 1 + Σ_i w_ij s_i / Σ_i w_ij. An edge climbs x_ij = s_j − s_i, which is 1 on
average; q = √(Σ w_ij (x_ij − 1)² / Σ w_ij) is the standard deviation, edges counted by their
weight. Source: Levine 1980, "Several measures of trophic structure" (levels); Johnson et al. 2014,
"Trophic coherence determines food-web stability", who count every edge once.

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 1.0, 1.0], [np.nan, np.nan, 1.0], [np.nan] * 3])).round(3))
0.408
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._arithmetic import divide
from cntbench.metrics._base import Array, Metric
from cntbench.metrics._batches import batched

METRIC = Metric(
    per="graph",
    lower=0,
    upper=np.inf,
    degree=0,
    null="layer_pairs",
    undefined="graphs without weight have no edge that climbs",
)


def compute(weights: Array) -> Array:
    """Return the incoherence of every graph."""

    def few(some: Array) -> Array:
        filled = np.where(np.isnan(some), 0, some)
        received = filled.sum(axis=-2, keepdims=True)
        share = divide(filled, received, 0.0)
        system = np.eye(filled.shape[-1]) - share.swapaxes(-2, -1)
        level = np.linalg.solve(system, np.ones((*filled.shape[:-1], 1)))[..., 0]
        climb = level[:, None, :] - level[:, :, None]
        total = filled.sum(axis=(-2, -1))
        square = (filled * (climb - 1) ** 2).sum(axis=(-2, -1))
        found = divide(square, total)
        return np.sqrt(found)

    return batched(few, weights)


def reference(graph: nx.DiGraph) -> float:
    """Take networkx's levels, of the edges that have weight."""
    present = nx.DiGraph()
    present.add_nodes_from(graph)
    present.add_weighted_edges_from(edge for edge in graph.edges(data="weight") if edge[2])
    if not present.number_of_edges():
        return float("nan")
    level = nx.trophic_levels(present, weight="weight")
    climbs = [(level[j] - level[i], weight) for i, j, weight in present.edges(data="weight")]
    square = sum(weight * (climb - 1) ** 2 for climb, weight in climbs)
    return float(np.sqrt(square / present.size(weight="weight")))
