"""Similarity of the graphs at any two checkpoints: Σ min(v, w) / Σ max(v, w).

The weighted Jaccard similarity of their edges: 1 if the graphs are equal (even without weight), 0
if they share no weight. Blocks along the diagonal are periods of little change; similarity far from
the diagonal is a return to an earlier graph. Source: Eckmann, Kamphorst and Ruelle 1987,
"Recurrence plots of dynamical systems"; Jaccard 1901, weighted by Ruzicka 1958.

>>> import numpy as np
>>> compute(np.array([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.5], [0.0, 0.0]]]))
array([[1. , 0.5],
       [0.5, 1. ]])
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from scipy.spatial.distance import pdist, squareform

from cntbench.metrics import turnover
from cntbench.metrics._base import Array, Metric, divide
from cntbench.metrics._batches import film_by_film

METRIC = Metric(per="checkpoint_pair", lower=0, upper=1, degree=0)


def compute(weights: Array) -> Array:
    """Return the matrix of every film."""
    flat = weights.reshape(*weights.shape[:-2], -1)
    feasible = ~np.isnan(flat).all(axis=tuple(range(flat.ndim - 1)))

    def film_similarity(edges: Array) -> Array:
        # |v − w| = max − min and v + w = max + min.
        difference = squareform(pdist(edges, "cityblock"))
        total = edges.sum(axis=-1)
        pair_total = total[:, None] + total
        return divide(pair_total - difference, pair_total + difference, 1.0)

    return film_by_film(film_similarity, np.nan_to_num(flat[..., feasible]))


def reference(graph: nx.DiGraph, other: nx.DiGraph) -> float:
    """Compare the two graphs edge by edge."""
    return 1 - turnover.reference(graph, other)
