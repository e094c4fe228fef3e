"""Sum of the influences that a component receives or sends over its feasible edges.

s_j = Σ_i w_ij (in) and s_i = Σ_j w_ij (out); 0 for components without feasible sources or targets.
Source: Barrat et al. 2004, "The architecture of complex weighted networks" (strength), directed.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, direction="in")
array([0.  , 0.5 , 1.25])
>>> compute(weights, direction="out")
array([0.75, 1.  , 0.  ])
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np

from cntbench.metrics._base import AXIS, Array, Direction, Metric
from cntbench.metrics._batches import batched_last
from cntbench.plugins import Variant

METRIC = Metric(per="source", lower=0, upper=np.inf, degree=1, null="layer_pairs")

VARIANTS = {
    "in_strength": Variant(
        "Sum of the influences that a component receives: s_j = Σ_i w_ij over its feasible edges.",
        {"direction": "in"},
        {"METRIC": replace(METRIC, per="target")},
    ),
    "out_strength": Variant(
        "Sum of the influences that a component sends: s_i = Σ_j w_ij over its feasible edges.",
        {"direction": "out"},
    ),
}


def compute(weights: Array, *, direction: Direction) -> Array:
    """Return the strength of every component."""
    axis = AXIS[direction] - 1  # graphs are last

    def batch_strength(batch: Array) -> Array:
        return np.where(np.isnan(batch), 0, batch).sum(axis=axis)

    return batched_last(batch_strength, weights)


def reference(graph: nx.DiGraph, *, direction: Direction) -> dict[object, float]:
    """Return networkx's weighted degree."""
    degree = graph.in_degree if direction == "in" else graph.out_degree
    return dict(degree(weight="weight"))
