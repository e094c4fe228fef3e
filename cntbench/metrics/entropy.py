"""Entropy of the weights: how evenly influence is spread over the edges.

H = −Σ p ln p, where p is an edge's share of the total weight. Source: Shannon 1948, "A mathematical
theory of communication".

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 1.0, 1.0], [np.nan, np.nan, 0.0], [np.nan] * 3])).round(3))
0.693
"""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
from scipy.special import entr

from cntbench.metrics._arithmetic import divide
from cntbench.metrics._base import Array, Metric

METRIC = Metric(
    per="graph",
    lower=0,
    upper=np.inf,
    degree=0,
    null="untrained",
    undefined="graphs without weight have no weight to share",
    units="nat",
)


def compute(weights: Array) -> Array:
    """Return the entropy of every graph."""
    filled = np.where(np.isnan(weights), 0, weights)
    total = filled.sum(axis=(-2, -1), keepdims=True)
    share = divide(filled, total, 0.0)
    return np.where(total[..., 0, 0] > 0, entr(share).sum(axis=(-2, -1)), np.nan)


def reference(graph: nx.DiGraph) -> float:
    """Add up edge by edge."""
    total = graph.size(weight="weight")
    if not total:
        return float("nan")
    shares = [weight / total for _, _, weight in graph.edges(data="weight")]
    return -sum(share * math.log(share) for share in shares if share)
