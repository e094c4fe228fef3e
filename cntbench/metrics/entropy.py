"""Entropy of the weights, and the number of edges that it stands for.

H = −Σ p ln p, where p is an edge's share of the total weight (Shannon 1948, "A mathematical theory
of communication"), and exp(H), the number of edges of equal weight that have this entropy: 1 if one
edge has all the weight, the number of feasible edges if all are equal (Hill 1973, "Diversity and
evenness", number of order 1).

>>> import numpy as np
>>> weights = np.array([[np.nan, 1.0, 1.0], [np.nan, np.nan, 0.0], [np.nan] * 3])
>>> float(compute(weights, effective=False).round(3))
0.693
>>> float(compute(weights, effective=True).round(3))
2.0
"""

from __future__ import annotations

import math
from dataclasses import replace

import networkx as nx
import numpy as np
from scipy.special import entr

from cntbench.metrics._base import Array, Metric, divide
from cntbench.plugins import Variant

METRIC = Metric(
    per="graph",
    lower=0,
    upper=np.inf,
    degree=0,
    null="untrained",
    undefined="graphs without weight have no weight to share",
    units="nat",
)

VARIANTS = {
    "effective_edges": Variant(
        "Effective number of edges: how many edges of equal weight would have the same entropy.",
        {"effective": True},
        {"METRIC": replace(METRIC, lower=1, units="1")},
    ),
    "entropy": Variant(
        "Entropy of the weights: how evenly influence is spread over the edges.",
        {"effective": False},
    ),
}


def compute(weights: Array, *, effective: bool) -> Array:
    """Return the entropy of every graph, or the effective number of its edges."""
    filled = np.where(np.isnan(weights), 0, weights)
    total = filled.sum(axis=(-2, -1), keepdims=True)
    share = divide(filled, total, 0.0)
    entropy = np.where(total[..., 0, 0] > 0, entr(share).sum(axis=(-2, -1)), np.nan)
    return np.exp(entropy) if effective else entropy


def reference(graph: nx.DiGraph, *, effective: bool) -> float:
    """Add up edge by edge, or multiply: exp(−Σ p ln p) = Π p^−p."""
    total = graph.size(weight="weight")
    if not total:
        return float("nan")
    shares = [weight / total for _, _, weight in graph.edges(data="weight")]
    if effective:
        return math.prod(share**-share for share in shares if share)
    return -sum(share * math.log(share) for share in shares if share)
