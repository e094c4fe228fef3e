"""Share of what a component receives that comes from the components of each layer.

Σ_i w_ij / s_j over the components i of the layer, where s_j is the in-strength. Source: Barrat et
al. 2004, "The architecture of complex weighted networks" (strength), by groups of neighbours.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, layer=np.array([0, 1, 1]))
array([[nan, nan],
       [1. , 0. ],
       [0.2, 0.8]])
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array, Metric
from cntbench.metrics._layers import share_by_layer

METRIC = Metric(
    per="target_by_layer",
    lower=0,
    upper=1,
    degree=0,
    null="layer_pairs",
    undefined="components that receive nothing have no shares of it",
    needs=("layer",),
)


def compute(weights: Array, *, layer: NDArray[np.integer]) -> Array:
    """Return the shares of every component."""
    return share_by_layer(weights, layer, "in")


def reference(graph: nx.DiGraph) -> dict[object, dict[int, float]]:
    """Go through the edges of every component."""
    layers = set(nx.get_node_attributes(graph, "layer").values())
    found = {}
    for node in graph:
        edges = list(graph.in_edges(node, data="weight"))
        strength = sum(weight for _, _, weight in edges)
        shares = dict.fromkeys(layers, 0.0 if strength else float("nan"))
        for *ends, weight in edges:
            if strength:
                shares[graph.nodes[ends[0]]["layer"]] += weight / strength
        found[node] = shares
    return found
