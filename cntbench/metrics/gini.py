"""Gini coefficient of the edge weights: 0 if all are equal, near 1 if one edge has all the weight.

G = Σ_a Σ_b |w_a − w_b| / (2 n² w̄) over the n feasible edges. NaN for graphs without feasible edges;
0 if all weights are 0. Source: Gini 1912; Goswami et al. 2018, "Sparsity of weighted networks".

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 1.0, 0.0], [np.nan, np.nan, 0.0], [np.nan] * 3])).round(3))
0.667
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric, divide

METRIC = Metric(per="graph", lower=0, upper=1, degree=0, null="untrained")


def compute(weights: Array) -> Array:
    """Return the coefficient of every graph, from the sorted weights."""
    flat = np.sort(weights.reshape(*weights.shape[:-2], -1).astype(np.float64), axis=-1)
    count = (~np.isnan(flat)).sum(axis=-1)
    # NaN sorts last, so the feasible weights have ranks 1 … n.
    rank = np.arange(1, flat.shape[-1] + 1)
    excess = 2 * rank - count[..., None] - 1
    spread = np.nansum(excess * flat, axis=-1)
    total = count * np.nansum(flat, axis=-1)
    return np.where(count > 0, divide(spread, total, 0.0), np.nan)


def reference(graph: nx.DiGraph) -> float:
    """Compare every pair of edges."""
    weights = [weight for _, _, weight in graph.edges(data="weight")]
    if not weights:
        return float("nan")
    if not sum(weights):
        return 0.0
    differences = sum(abs(a - b) for a in weights for b in weights)
    return differences / (2 * len(weights) * sum(weights))
