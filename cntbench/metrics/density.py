"""Share of the feasible edges whose influence exceeds 0.1.

With the measure ``relative_l2`` these are the edges over which ablating the source changes the
target's output by more than a tenth of its length. NaN for graphs without feasible edges.

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 0.5], [np.nan, np.nan]])))
1.0
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._arithmetic import divide
from cntbench.metrics._base import Array, Metric

METRIC = Metric(per="graph", lower=0, upper=1, degree=None, null="untrained")

THRESHOLD = 0.1


def compute(weights: Array) -> Array:
    """Return the density of every graph."""
    feasible = (~np.isnan(weights)).sum(axis=(-2, -1))
    strong = (weights > THRESHOLD).sum(axis=(-2, -1))
    return divide(strong, feasible)


def reference(graph: nx.DiGraph) -> float:
    """Count edges one by one."""
    strong = 0
    for _, _, weight in graph.edges(data="weight"):
        strong += weight > THRESHOLD
    return strong / graph.number_of_edges() if graph.number_of_edges() else float("nan")
