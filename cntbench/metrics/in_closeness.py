"""How near a component is to those that influence it: (r / (n − 1)) · r / Σ d(i, j).

The sum goes over the r components i from which a path leads to component j, and an
edge is 1 / w long. 0 where there is no path. Source: Freeman 1979, "Centrality in social networks";
for graphs in which not every node reaches every other, Wasserman and Faust 1994, "Social network
analysis", equation 5.22.

>>> import numpy as np
>>> from cntbench.metrics._paths import distances
>>> weights = np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, distance=distances(weights))
array([0.  , 0.25, 0.5 ])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics._base import Array, Metric
from cntbench.metrics._paths import closeness, with_lengths

METRIC = Metric(
    per="target", lower=0, upper=np.inf, degree=1, null="layer_pairs", needs=("distance",)
)


def compute(weights: Array, *, distance: Array) -> Array:
    """Return the closeness of every component."""
    return closeness(distance, axis=-2)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Return networkx's closeness, which is by paths that lead to a component."""
    return dict(nx.closeness_centrality(with_lengths(graph), distance="length"))
