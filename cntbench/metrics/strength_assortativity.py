"""Whether components that send much influence those that receive much.

Pearson's correlation between the out-strength of the source and the in-strength of the target, over
the edges weighted by their influence. Source: Newman 2003, "Mixing patterns in networks"; for
weighted graphs Leung and Chau 2007, "Weighted assortative and disassortative networks model".

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 1.0, 1.0], [np.nan, np.nan, 1.0], [np.nan] * 3])).round(3))
-0.5
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric, divide
from cntbench.metrics._batches import batched_last

METRIC = Metric(
    per="graph",
    lower=-1,
    upper=1,
    degree=0,
    null="strengths",
    undefined="where all sources that send, or all targets that receive, are equally strong, "
    "there is nothing to correlate",
)

#: Relative difference below which strengths are equal, so that rounding never correlates.
EQUAL = 1e-6


def compute(weights: Array) -> Array:
    """Return the correlation of every graph."""

    def batch_correlation(batch: Array) -> Array:
        filled = np.where(np.isnan(batch), 0, batch)
        sent, received = filled.sum(axis=1), filled.sum(axis=0)
        x, varies_x = _centred(sent)
        y, varies_y = _centred(received)
        covariance = (x * (filled * y).sum(axis=1)).sum(axis=0)
        scale = np.sqrt((sent * x**2).sum(axis=0) * (received * y**2).sum(axis=0))
        correlation = divide(covariance, np.where(varies_x & varies_y, scale, 0))
        return np.clip(correlation, -1, 1)

    return batched_last(batch_correlation, weights)


def _centred(strength: Array) -> tuple[Array, np.ndarray]:
    """Return strengths minus their mean over edges, and whether those of a graph differ."""
    share = divide(strength, strength.sum(axis=0), 0.0)
    centred = strength - (share * strength).sum(axis=0)
    deviation = np.sqrt((share * centred**2).sum(axis=0))
    return centred, deviation > EQUAL * strength.max(axis=0, initial=0)


def reference(graph: nx.DiGraph) -> float:
    """Return numpy's weighted covariance, scaled to a correlation."""
    edges = [edge for edge in graph.edges(data="weight") if edge[2]]
    if not edges:
        return float("nan")
    sent, received = graph.out_degree(weight="weight"), graph.in_degree(weight="weight")
    values = np.array([[sent[i], received[j]] for i, j, _ in edges], dtype=float).T
    largest = values.max(axis=1)
    values = values / largest[:, None]
    covariance = np.atleast_2d(np.cov(values, aweights=[weight for *_, weight in edges], ddof=0))
    if (np.sqrt(covariance.diagonal()) <= EQUAL).any():
        return float("nan")
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
