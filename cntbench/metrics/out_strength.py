"""Sum of the influences that a component sends: s_i = Σ_j w_ij over its feasible edges.

0 for components without feasible targets. Source: Barrat et al. 2004, "The architecture of complex
weighted networks" (strength), directed.

>>> import numpy as np
>>> compute(np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3]))
array([0.75, 1.  , 0.  ])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric

METRIC = Metric(per="source", lower=0, upper=np.inf, degree=1, null="layer_pairs")


def compute(weights: Array) -> Array:
    """Return the out-strength of every component."""
    return np.asarray(np.nansum(weights, axis=-1))


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Return networkx's weighted out-degree."""
    return dict(graph.out_degree(weight="weight"))
