"""Where influence ends up when it is passed on along the edges: PageRank with damping 0.85.

p = (1 − α) / n + α (Pᵀ p + Σ_dangling p_i / n), where P_ij = w_ij / s_i; a component that sends
nothing passes its influence on to all components alike. In a graph without weight, every component
has 1 / n. Source: Brin and Page 1998, "The anatomy of a large-scale hypertextual web search
engine".

>>> import numpy as np
>>> compute(np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])).round(3)
array([0.192, 0.308, 0.5  ])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.metrics._paths import Stages, passed_on

METRIC = Metric(per="component", lower=0, upper=1, degree=0, null="layer_pairs")

DAMPING = 0.85


def compute(weights: Array) -> Array:
    """Return every component's PageRank, passed on in causal order."""
    stages = Stages.of(weights)

    def batch_rank(batch: Array) -> Array:
        filled = np.where(np.isnan(batch), 0, batch)
        passed = divide(filled, filled.sum(axis=1, keepdims=True), 0.0)
        # Teleports and dangling components add the same to every component: they scale the rank.
        rank = passed_on(DAMPING * passed, stages)
        return rank / rank.sum(axis=0)

    return batched_last(batch_rank, weights)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Return networkx's PageRank."""
    return dict(nx.pagerank(graph, alpha=DAMPING, weight="weight", tol=1e-15, max_iter=1000))
