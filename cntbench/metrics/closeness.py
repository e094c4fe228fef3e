"""How near a component is to those that influence it, or to those it influences.

(r / (n − 1)) · r / Σ d(i, j). The sum goes over the r components i that reach component j (in), or
over the r components j that component i reaches (out); the length of an edge is 1 / w. 0 where
there is no path. Source: Freeman 1979, "Centrality in social networks"; for graphs in which not
every node reaches every other, Wasserman and Faust 1994, "Social network analysis", equation 5.22.

>>> import numpy as np
>>> from cntbench.metrics._paths import distances
>>> weights = np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, distance=distances(weights), direction="in")
array([0.  , 0.25, 0.5 ])
>>> compute(weights, distance=distances(weights), direction="out")
array([0.4, 0.5, 0. ])
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np

from cntbench.metrics._base import AXIS, Array, Direction, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.metrics._paths import with_lengths
from cntbench.plugins import Variant

METRIC = Metric(
    per="source", lower=0, upper=np.inf, degree=1, null="layer_pairs", needs=("distance",)
)

VARIANTS = {
    "in_closeness": Variant(
        "How near a component is to those that influence it: (r / (n − 1)) · r / Σ d(i, j).",
        {"direction": "in"},
        {"METRIC": replace(METRIC, per="target")},
    ),
    "out_closeness": Variant(
        "How near a component is to those it influences: (r / (n − 1)) · r / Σ d(i, j).",
        {"direction": "out"},
    ),
}


def compute(weights: Array, *, distance: Array, direction: Direction) -> Array:
    """Return the closeness of every component."""
    axis, others = AXIS[direction] - 1, max(distance.shape[-1] - 1, 1)  # graphs are last

    def batch_closeness(distance: Array) -> Array:
        finite = np.where(np.isinf(distance), 0, distance)
        reached = (finite > 0).sum(axis=axis)
        return divide(reached, finite.sum(axis=axis), 0.0) * reached / others

    return batched_last(batch_closeness, distance)


def reference(graph: nx.DiGraph, *, direction: Direction) -> dict[object, float]:
    """Return networkx's closeness, which measures the paths that end at a component."""
    incoming = graph if direction == "in" else graph.reverse()
    return dict(nx.closeness_centrality(with_lengths(incoming), distance="length"))
