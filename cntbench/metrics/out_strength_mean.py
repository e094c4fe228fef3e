"""Mean influence that a component sends over a feasible edge: s_i / k_i.

k_i counts the feasible edges from component i: what the layer alone gives early components, more
targets to send to, is taken away. Source: Barrat et al. 2004, "The architecture of complex weighted
networks" (strength), divided by the degree.

>>> import numpy as np
>>> compute(np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3]))
array([0.375, 1.   ,   nan])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric

METRIC = Metric(
    per="source",
    lower=0,
    upper=np.inf,
    degree=1,
    null="layer_pairs",
    undefined="components without feasible targets send nothing to take a mean of",
)


def compute(weights: Array) -> Array:
    """Return the mean of every component."""
    edges = (~np.isnan(weights)).sum(axis=-1)
    strength = np.nansum(weights, axis=-1)
    return np.divide(strength, edges, out=np.full(edges.shape, np.nan), where=edges > 0)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Divide networkx's weighted out-degree by its out-degree."""
    strength = graph.out_degree(weight="weight")
    return {n: strength[n] / k if k else float("nan") for n, k in graph.out_degree()}
