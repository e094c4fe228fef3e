"""Effective number of edges: how many edges of equal weight would have the same entropy.

exp(H), where H is the entropy of the weights: 1 if one edge has all the weight, the number of
feasible edges if all are equal. Source: Hill 1973, "Diversity and evenness", number of order 1.

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 1.0, 1.0], [np.nan, np.nan, 0.0], [np.nan] * 3])).round(3))
2.0
"""

from __future__ import annotations

import math

import networkx as nx
import numpy as np

from cntbench.metrics import entropy
from cntbench.metrics._base import Array, Metric

METRIC = Metric(
    per="graph",
    lower=1,
    upper=np.inf,
    degree=0,
    null="untrained",
    undefined="graphs without weight have no weight to share",
)


def compute(weights: Array) -> Array:
    """Return the effective number of every graph."""
    return np.exp(entropy.compute(weights))


def reference(graph: nx.DiGraph) -> float:
    """Multiply edge by edge: exp(−Σ p ln p) = Π p^−p."""
    total = graph.size(weight="weight")
    if not total:
        return float("nan")
    shares = [weight / total for _, _, weight in graph.edges(data="weight")]
    return math.prod(share**-share for share in shares if share)
