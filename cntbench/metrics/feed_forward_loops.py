"""Number of feed-forward loops i → j → k with i → k, each counted by its intensity.

Σ (w_ij w_jk w_ik)^(1/3) over all triples of components: the number of loops if all weights are 0 or
1, and of whatever strength the geometric mean of its edges gives it if they are not. How many
triples could be loops is the architecture's doing. Source: Milo et al. 2002, "Network motifs";
intensity by Onnela et al. 2005, "Intensity and coherence of motifs in weighted complex networks".

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 1.0, 1.0], [np.nan, np.nan, 8.0], [np.nan] * 3])))
2.0
"""

from __future__ import annotations

from itertools import permutations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric
from cntbench.metrics._batches import batched

METRIC = Metric(per="graph", lower=0, upper=np.inf, degree=1, null="strengths")


def compute(weights: Array) -> Array:
    """Return the number for every graph."""

    def few(some: Array) -> Array:
        there = ~np.isnan(some)
        roots = np.cbrt(some, out=np.zeros(some.shape), where=there)
        return np.asarray((np.matmul(roots, roots) * roots).sum(axis=(-2, -1)))

    return batched(few, weights)


def reference(graph: nx.DiGraph) -> float:
    """Look at every triple of nodes."""
    weight = nx.get_edge_attributes(graph, "weight")
    total = 0.0
    for i, j, k in permutations(graph, 3):
        if (i, j) in weight and (j, k) in weight and (i, k) in weight:
            total += np.cbrt(weight[i, j] * weight[j, k] * weight[i, k])
    return total
