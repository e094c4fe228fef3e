"""How strongly the neighbours of a component influence each other: directed weighted clustering.

c_i = ½ [(C + Cᵀ)³]_ii / (k_i (k_i − 1)), where C_ij = (w_ij / max w)^(1/3) and k_i counts the
feasible edges of i, whatever their direction: the mean intensity of the triangles at i over all
that its neighbours could form. 0 for components with fewer than two edges, and without any weight.
Source: Fagiolo 2007, "Clustering in complex directed networks"; intensities by Onnela et al. 2005.
In these graphs no edge has one in the opposite direction.

>>> import numpy as np
>>> compute(np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])).round(3)
array([0.232, 0.232, 0.232])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._arithmetic import divide
from cntbench.metrics._base import Array, Metric
from cntbench.metrics._batches import batched

METRIC = Metric(per="component", lower=0, upper=1, degree=0, null="strengths")


def compute(weights: Array) -> Array:
    """Return the clustering of every component."""

    def few(some: Array) -> Array:
        there = ~np.isnan(some)
        filled = np.where(there, some, 0)
        largest = filled.max(axis=(-2, -1), keepdims=True, initial=0)
        share = divide(filled, largest, 0.0)
        roots = np.cbrt(share, out=np.zeros(filled.shape), where=there)
        either = roots + roots.swapaxes(-2, -1)
        triangles = (np.matmul(either, either) * either).sum(axis=-1) / 2
        edges = there.sum(axis=-1) + there.sum(axis=-2)
        pairs = edges * (edges - 1)
        return divide(triangles, pairs, 0.0)

    return batched(few, weights)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Return networkx's clustering."""
    if not any(weight for _, _, weight in graph.edges(data="weight")):
        return dict.fromkeys(graph, 0.0)
    return dict(nx.clustering(graph, weight="weight"))
