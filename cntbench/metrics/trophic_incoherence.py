"""How far edges are from climbing one trophic level each: 0 if every edge climbs exactly one.

Components that receive nothing have level 1; the level of any other component is one more than the
weighted mean level of its sources, s_j = 1 + Σ_i w_ij s_i / Σ_i w_ij. An edge climbs
x_ij = s_j − s_i, which is 1 on average; q = √(Σ w_ij (x_ij − 1)² / Σ w_ij) is the weighted standard
deviation. Source: Levine 1980, "Several measures of trophic structure" (levels); Johnson et al.
2014, "Trophic coherence determines food-web stability", who do not weight the edges.

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 1.0, 1.0], [np.nan, np.nan, 1.0], [np.nan] * 3])).round(3))
0.408
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.metrics._paths import Stages, passed_on, with_lengths

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

    stages = Stages.of(weights)

    def batch_incoherence(batch: Array) -> Array:
        filled = np.where(np.isnan(batch), 0, batch)
        level = passed_on(divide(filled, filled.sum(axis=0), 0.0), stages)
        climb = level[None, :] - level[:, None]
        squares = (filled * (climb - 1) ** 2).sum(axis=(0, 1))
        return np.sqrt(divide(squares, filled.sum(axis=(0, 1))))

    return batched_last(batch_incoherence, weights)


def reference(graph: nx.DiGraph) -> float:
    """Use networkx's trophic levels of the edges with weight."""
    weighted = with_lengths(graph)
    if not weighted.number_of_edges():
        return float("nan")
    level = nx.trophic_levels(weighted, weight="weight")
    squares = (
        weight * (level[j] - level[i] - 1) ** 2 for i, j, weight in weighted.edges(data="weight")
    )
    return float(np.sqrt(sum(squares) / weighted.size(weight="weight")))
