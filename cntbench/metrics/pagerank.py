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

from cntbench.metrics._arithmetic import divide
from cntbench.metrics._base import Array, Metric

METRIC = Metric(per="component", lower=0, upper=1, degree=0, null="layer_pairs")

DAMPING = 0.85


def compute(weights: Array) -> Array:
    """Return every component's PageRank, from one linear system for each graph."""
    filled = np.where(np.isnan(weights), 0, weights)
    strength = filled.sum(axis=-1, keepdims=True)
    passed = divide(filled, strength, 0.0)
    # Teleports and dangling components add the same to every component: they scale the solution.
    system = np.eye(filled.shape[-1]) - DAMPING * passed.swapaxes(-2, -1)
    rank = np.linalg.solve(system, np.ones((*filled.shape[:-1], 1)))[..., 0]
    return np.asarray(rank / rank.sum(axis=-1, keepdims=True))


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Return networkx's PageRank."""
    return dict(nx.pagerank(graph, alpha=DAMPING, weight="weight", tol=1e-15, max_iter=1000))
