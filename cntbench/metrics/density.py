"""Share of the feasible edges whose influence exceeds 0.1.

With the measure ``relative_l2``, these are the edges where ablating the source changes the output
of the target by more than a tenth of its norm. NaN for graphs without feasible edges.

>>> import numpy as np
>>> float(compute(np.array([[np.nan, 0.5], [np.nan, np.nan]])))
1.0
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric, divide

METRIC = Metric(per="graph", lower=0, upper=1, degree=None, null="untrained")

THRESHOLD = 0.1


def compute(weights: Array) -> Array:
    """Return the density of every graph."""
    strong = (weights > THRESHOLD).sum(axis=(-2, -1))
    return divide(strong, (~np.isnan(weights)).sum(axis=(-2, -1)))


def reference(graph: nx.DiGraph) -> float:
    """Count the edges one by one."""
    strong = [weight > THRESHOLD for _, _, weight in graph.edges(data="weight")]
    return sum(strong) / len(strong) if strong else float("nan")
