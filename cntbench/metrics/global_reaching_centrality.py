"""Hierarchy of the flow: how far the component that reaches most stands above the others.

GRC = Σ_i (C_max − C_i) / (n − 1), where C_i = Σ_j ⟨w⟩_ij / (⟨w⟩ (n − 1)) sums over the components j
that i reaches, ⟨w⟩_ij is the mean weight on the shortest path from i to j (an edge is 1 / w long)
and ⟨w⟩ that of all feasible edges. Of paths whose lengths agree to nine digits, the one with the
fewest edges counts, then the one with the largest weights. 0 for graphs without weight. Source:
Mones, Vicsek and Vicsek 2012, "Hierarchy measure for complex networks".

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

from cntbench.metrics._arithmetic import TIE, divide
from cntbench.metrics._base import Array, Metric
from cntbench.metrics._batches import batched
from cntbench.metrics._paths import Stages, last_steps, lengths, with_lengths

METRIC = Metric(
    per="graph", lower=0, upper=np.inf, degree=0, null="layer_pairs", needs=("distance",)
)


def compute(weights: Array, *, distance: Array) -> Array:
    """Return the centrality of every graph."""
    stages = Stages.of(weights)
    others = max(weights.shape[-1] - 1, 1)

    def few(some: Array, apart: Array) -> Array:
        ordered, apart = stages.sort(some), stages.sort(apart)
        edges = (~np.isnan(ordered)).sum(axis=(-2, -1))
        ordered = np.where(np.isnan(ordered), 0, ordered)
        length = lengths(ordered)
        hops, weight = np.zeros(ordered.shape), np.zeros(ordered.shape)
        for start, stop in stages.bounds[1:]:
            step = last_steps(length, apart, start, stop)
            fewest = np.where(step, hops[:, :start, :start, None], np.inf)
            least = fewest.min(axis=2)
            hops[:, :start, start:stop] = np.where(np.isinf(least), 0, least + 1)
            heavy = weight[:, :start, :start, None] + ordered[:, None, :start, start:stop]
            heavy = np.where(step & (fewest == least[:, :, None]), heavy, 0)
            weight[:, :start, start:stop] = heavy.max(axis=2)
        mean = divide(weight, hops, 0.0)
        total = ordered.sum(axis=(-2, -1))
        scale = np.divide(edges, total * others, out=np.zeros(total.shape), where=total > 0)
        reach = mean.sum(axis=-1) * scale[:, None]
        return (reach.max(axis=-1, keepdims=True) - reach).sum(axis=-1) / others

    return batched(few, weights, distance)


def reference(graph: nx.DiGraph) -> float:
    """List all paths from every node and choose."""
    present = with_lengths(graph)
    total, others = present.size(weight="weight"), max(len(graph) - 1, 1)
    reach = []
    for source in graph:
        of_source = 0.0
        for target in nx.descendants(present, source):
            paths = list(nx.all_simple_paths(present, source, target))
            edges = [[present.edges[edge] for edge in pairwise(path)] for path in paths]
            shortest = min(sum(edge["length"] for edge in path) for path in edges)
            of_source += max(
                (-len(path), sum(edge["weight"] for edge in path) / len(path))
                for path in edges
                if sum(edge["length"] for edge in path) <= shortest * (1 + TIE)
            )[1]
        reach.append(of_source * graph.number_of_edges() / total / others if total else 0.0)
    return sum(max(reach) - one for one in reach) / others
