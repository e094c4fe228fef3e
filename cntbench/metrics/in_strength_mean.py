"""Mean influence that a component receives over a feasible edge: s_j / k_j.

k_j counts the feasible edges to component j: what the layer alone gives late components, more
sources to receive from, is taken away. Source: Barrat et al. 2004, "The architecture of complex
weighted networks" (strength), divided by the degree.

>>> import numpy as np
>>> compute(np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3]))
array([  nan, 0.5  , 0.625])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric

METRIC = Metric(
    per="target",
    lower=0,
    upper=np.inf,
    degree=1,
    null="layer_pairs",
    undefined="components without feasible sources receive nothing to take a mean of",
)


def compute(weights: Array) -> Array:
    """Return the mean of every component."""
    edges = (~np.isnan(weights)).sum(axis=-2)
    strength = np.nansum(weights, axis=-2)
    return np.divide(strength, edges, out=np.full(edges.shape, np.nan), where=edges > 0)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Divide networkx's weighted in-degree by its in-degree."""
    strength = graph.in_degree(weight="weight")
    return {n: strength[n] / k if k else float("nan") for n, k in graph.in_degree()}
