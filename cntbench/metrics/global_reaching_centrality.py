"""Hierarchy of the flow: how far the component that reaches most stands above the others.

GRC = Σ_i (C_max − C_i) / (n − 1), where C_i = Σ_j ⟨w⟩_ij / (⟨w⟩ (n − 1)) sums over the components j
that i reaches. ⟨w⟩_ij is the mean weight on the shortest path from i to j (the length of an edge is
1 / w) and ⟨w⟩ the mean weight of all feasible edges. Of paths whose lengths agree to nine digits,
the one with the fewest edges counts, then the one with the largest weights. 0 for graphs without
weight. Source: Mones, Vicsek and Vicsek 2012, "Hierarchy measure for complex networks".

>>> import numpy as np
>>> from cntbench.metrics._paths import distances
>>> weights = np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> float(compute(weights, distance=distances(weights)).round(3))
0.662
"""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np

from cntbench.metrics._base import TIE, Array, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.metrics._paths import Stages, last_steps, lengths, with_lengths

METRIC = Metric(
    per="graph", lower=0, upper=np.inf, degree=0, null="layer_pairs", needs=("distance",)
)


def compute(weights: Array, *, distance: Array) -> Array:
    """Return the centrality of every graph."""
    stages = Stages.of(weights)
    others = max(weights.shape[-1] - 1, 1)

    def batch_centrality(batch: Array, distance: Array) -> Array:
        ordered, distance = stages.sort(batch), stages.sort(distance)
        edges = (~np.isnan(ordered)).sum(axis=(0, 1))
        ordered = np.where(np.isnan(ordered), 0, ordered)
        length = lengths(ordered)
        hops, weight = np.zeros(ordered.shape), np.zeros(ordered.shape)
        for start, stop in stages.bounds[1:]:
            is_last = last_steps(length, distance, start, stop)
            with np.errstate(divide="ignore"):  # infinite where no shortest path ends so
                hops_through = (hops[:start, :start, None] + 1) / is_last
            fewest = hops_through.min(axis=1)
            fewest[np.isinf(fewest)] = 0
            hops[:start, start:stop] = fewest
            chosen = hops_through == fewest[:, None]
            path_weight = weight[:start, :start, None] + ordered[None, :start, start:stop]
            weight[:start, start:stop] = (chosen * path_weight).max(axis=1)
        scale = divide(edges, ordered.sum(axis=(0, 1)) * others, 0.0)
        reach = divide(weight, hops, 0.0).sum(axis=1) * scale
        return (reach.max(axis=0) - reach).sum(axis=0) / others

    return batched_last(batch_centrality, weights, distance)


def reference(graph: nx.DiGraph) -> float:
    """List all paths from every node and choose among them."""
    weighted = with_lengths(graph)
    total, others = weighted.size(weight="weight"), max(len(graph) - 1, 1)
    reach = []
    for source in graph:
        source_reach = 0.0
        for target in nx.descendants(weighted, source):
            paths = [
                [weighted.edges[edge] for edge in pairwise(nodes)]
                for nodes in nx.all_simple_paths(weighted, source, target)
            ]
            shortest = min(sum(edge["length"] for edge in path) for path in paths)
            source_reach += max(
                (-len(path), sum(edge["weight"] for edge in path) / len(path))
                for path in paths
                if sum(edge["length"] for edge in path) <= shortest * (1 + TIE)
            )[1]
        reach.append(source_reach * graph.number_of_edges() / total / others if total else 0.0)
    return sum(max(reach) - value for value in reach) / others
