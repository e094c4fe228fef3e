"""How strongly the neighbours of a component influence each other: directed weighted clustering.

c_i = ½ [(C + Cᵀ)³]_ii / (k_i (k_i − 1)), where C_ij = (w_ij / max w)^(1/3) and k_i counts the
feasible edges of i in both directions: the mean intensity of the triangles at i, over all triangles
that its neighbours could form. 0 for components with fewer than two edges and for graphs without
weight. Source: Fagiolo 2007, "Clustering in complex directed networks", with the intensities of
Onnela et al. 2005. In these graphs, no two edges are opposite.

>>> import numpy as np
>>> compute(np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])).round(3)
array([0.232, 0.232, 0.232])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric, divide
from cntbench.metrics._batches import batched

METRIC = Metric(per="component", lower=0, upper=1, degree=0, null="strengths")


def compute(weights: Array) -> Array:
    """Return the clustering of every component."""

    def batch_clustering(batch: Array) -> Array:
        feasible = ~np.isnan(batch)
        filled = np.where(feasible, batch, 0)
        largest = filled.max(axis=(-2, -1), keepdims=True, initial=0)
        share = divide(filled, largest, 0.0)
        roots = np.cbrt(share, out=np.zeros(filled.shape), where=feasible)
        symmetric = roots + roots.swapaxes(-2, -1)
        triangles = (np.matmul(symmetric, symmetric) * symmetric).sum(axis=-1) / 2
        edges = feasible.sum(axis=-1) + feasible.sum(axis=-2)
        return divide(triangles, edges * (edges - 1), 0.0)

    return batched(batch_clustering, weights)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Return networkx's clustering."""
    if not any(weight for _, _, weight in graph.edges(data="weight")):
        return dict.fromkeys(graph, 0.0)
    return dict(nx.clustering(graph, weight="weight"))
