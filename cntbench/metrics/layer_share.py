"""Share of each layer in what a component receives or sends.

Received: Σ_i w_ij / s_j over the components i of the layer, where s_j is the in-strength. Sent:
Σ_j w_ij / s_i over the components j of the layer, where s_i is the out-strength. Source: Barrat et
al. 2004, "The architecture of complex weighted networks" (strength), by groups of neighbours.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, layer=np.array([0, 1, 1]), direction="in")
array([[nan, nan],
       [1. , 0. ],
       [0.2, 0.8]])
>>> compute(weights, layer=np.array([0, 1, 1]), direction="out")
array([[ 0.,  1.],
       [ 0.,  1.],
       [nan, nan]])
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array, Direction, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.metrics._layers import by_layer
from cntbench.plugins import Variant

METRIC = Metric(
    per="source_by_layer",
    lower=0,
    upper=1,
    degree=0,
    null="layer_pairs",
    undefined="components that send nothing have no shares",
    needs=("layer",),
)

VARIANTS = {
    "share_received": Variant(
        "Share of what a component receives that comes from the components of each layer.",
        {"direction": "in"},
        {
            "METRIC": replace(
                METRIC,
                per="target_by_layer",
                undefined="components that receive nothing have no shares",
            )
        },
    ),
    "share_sent": Variant(
        "Share of what a component sends that goes to the components of each layer.",
        {"direction": "out"},
    ),
}


def compute(weights: Array, *, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return the shares of every component."""

    def batch_shares(batch: Array) -> Array:
        exchanged = by_layer(np.where(np.isnan(batch), 0, batch), layer, direction)
        return divide(exchanged, exchanged.sum(axis=1, keepdims=True))

    return batched_last(batch_shares, weights)


def reference(graph: nx.DiGraph, *, direction: Direction) -> dict[object, dict[int, float]]:
    """Go through the edges of every component."""
    layers = set(nx.get_node_attributes(graph, "layer").values())
    shares = {}
    for node in graph:
        edges = graph.in_edges if direction == "in" else graph.out_edges
        weights = {
            (source if direction == "in" else target): weight
            for source, target, weight in edges(node, data="weight")
        }
        strength = sum(weights.values())
        shares[node] = dict.fromkeys(layers, 0.0 if strength else float("nan"))
        for neighbour, weight in weights.items():
            if strength:
                shares[node][graph.nodes[neighbour]["layer"]] += weight / strength
    return shares
