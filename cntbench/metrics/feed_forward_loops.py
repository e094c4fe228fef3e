"""Number of feed-forward loops i → j → k with i → k, each counted by its intensity.

Σ (w_ij w_jk w_ik)^(1/3) over all triples of components. If all weights are 0 or 1, this is the
number of loops; otherwise each loop counts as the geometric mean of its weights. The architecture
determines which triples can be loops. Source: Milo et al. 2002, "Network motifs"; intensity by
Onnela et al. 2005, "Intensity and coherence of motifs in weighted complex networks".

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

    def batch_loops(batch: Array) -> Array:
        roots = np.cbrt(batch, out=np.zeros(batch.shape), where=~np.isnan(batch))
        return np.asarray((np.matmul(roots, roots) * roots).sum(axis=(-2, -1)))

    return batched(batch_loops, weights)


def reference(graph: nx.DiGraph) -> float:
    """Go through all triples of nodes."""
    weight = nx.get_edge_attributes(graph, "weight")
    total = 0.0
    for i, j, k in permutations(graph, 3):
        if (i, j) in weight and (j, k) in weight and (i, k) in weight:
            total += np.cbrt(weight[i, j] * weight[j, k] * weight[i, k])
    return total
