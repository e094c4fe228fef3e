"""Share of what a component sends that goes to the components of each layer.

Σ_j w_ij / s_i over the components j of the layer, where s_i is the out-strength. Source: Barrat et
al. 2004, "The architecture of complex weighted networks" (strength), by groups of neighbours.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, layer=np.array([0, 1, 1]))
array([[ 0.,  1.],
       [ 0.,  1.],
       [nan, nan]])
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array, Metric
from cntbench.metrics._layers import share_by_layer

METRIC = Metric(
    per="source_by_layer",
    lower=0,
    upper=1,
    degree=0,
    null="layer_pairs",
    undefined="components that send nothing have no shares of it",
    needs=("layer",),
)


def compute(weights: Array, *, layer: NDArray[np.integer]) -> Array:
    """Return the shares of every component."""
    return share_by_layer(weights, layer, "out")


def reference(graph: nx.DiGraph) -> dict[object, dict[int, float]]:
    """Go through the edges of every component."""
    layers = set(nx.get_node_attributes(graph, "layer").values())
    found = {}
    for node in graph:
        edges = list(graph.out_edges(node, data="weight"))
        strength = sum(weight for _, _, weight in edges)
        shares = dict.fromkeys(layers, 0.0 if strength else float("nan"))
        for *ends, weight in edges:
            if strength:
                shares[graph.nodes[ends[1]]["layer"]] += weight / strength
        found[node] = shares
    return found
