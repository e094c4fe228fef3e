"""Share of the shortest paths between other components that pass through a component.

b(v) = Σ σ(s, t | v) / σ(s, t) / ((n − 1)(n − 2)), over all pairs (s, t) that a path connects;
σ(s, t) counts the shortest paths and σ(s, t | v) those that pass through v. The length of an edge
is 1 / w. Paths whose lengths agree to nine digits are equally short. Source: Freeman 1977, "A set
of measures of centrality based on betweenness"; Brandes 2001, "A faster algorithm for betweenness
centrality".

>>> import numpy as np
>>> from cntbench.metrics._paths import distances
>>> weights = np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, distance=distances(weights))
array([0. , 0.5, 0. ])
"""

from __future__ import annotations

from itertools import pairwise, permutations

import networkx as nx
import numpy as np

from cntbench.metrics._base import TIE, Array, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.metrics._paths import Stages, last_steps, lengths, with_lengths

METRIC = Metric(
    per="component", lower=0, upper=1, degree=0, null="layer_pairs", needs=("distance",)
)


def compute(weights: Array, *, distance: Array) -> Array:
    """Return the betweenness of every component."""
    stages = Stages.of(weights)
    nodes = weights.shape[-1]
    pairs = max((nodes - 1) * (nodes - 2), 1)

    def batch_betweenness(batch: Array, distance: Array) -> Array:
        length, distance = lengths(stages.sort(batch)), stages.sort(distance)
        paths = np.zeros(length.shape)
        paths[range(nodes), range(nodes)] = 1
        steps = {}
        for start, stop in stages.bounds[1:]:
            steps[start] = last_steps(length, distance, start, stop)
            counts = (paths[:start, :start, None] * steps[start]).sum(axis=1)
            paths[:start, start:stop] = counts
        passing = np.zeros(length.shape)
        for start, stop in reversed(stages.bounds[1:]):
            per_path = divide(1 + passing[:start, start:stop], paths[:start, start:stop], 0.0)
            onwards = (steps[start] * per_path[:, None]).sum(axis=2)
            passing[:start, :start] += paths[:start, :start] * onwards
        passing[range(nodes), range(nodes)] = 0
        return (passing.sum(axis=0) / pairs)[stages.inverse]

    return batched_last(batch_betweenness, weights, distance)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """List all paths between every two nodes and take the shortest."""
    weighted = with_lengths(graph)
    pairs = max((len(graph) - 1) * (len(graph) - 2), 1)
    betweenness = dict.fromkeys(graph, 0.0)
    for source, target in permutations(graph, 2):
        length = {
            tuple(path): sum(weighted.edges[edge]["length"] for edge in pairwise(path))
            for path in nx.all_simple_paths(weighted, source, target)
        }
        least = min(length.values(), default=0.0)
        shortest = [path for path in length if length[path] <= least * (1 + TIE)]
        for path in shortest:
            for node in path[1:-1]:
                betweenness[node] += 1 / len(shortest) / pairs
    return betweenness
