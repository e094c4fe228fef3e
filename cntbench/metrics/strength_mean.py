"""Mean influence that a component receives or sends over a feasible edge.

s_j / k_j (in) and s_i / k_i (out), where k counts the feasible edges of the component. Division by
k removes an advantage that depends on the layer alone: late components have more sources, early
ones more targets. Source: Barrat et al. 2004, "The architecture of complex weighted networks"
(strength), divided by the degree.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, direction="in")
array([  nan, 0.5  , 0.625])
>>> compute(weights, direction="out")
array([0.375, 1.   ,   nan])
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np

from cntbench.metrics._arithmetic import divide
from cntbench.metrics._base import AXIS, Array, Direction, Metric
from cntbench.metrics._batches import batched_last
from cntbench.plugins import Variant

METRIC = Metric(
    per="source",
    lower=0,
    upper=np.inf,
    degree=1,
    null="layer_pairs",
    undefined="components without feasible targets have no edges to average",
)

VARIANTS = {
    "in_strength_mean": Variant(
        "Mean influence that a component receives over a feasible edge: s_j / k_j.",
        {"direction": "in"},
        {
            "METRIC": replace(
                METRIC,
                per="target",
                undefined="components without feasible sources have no edges to average",
            )
        },
    ),
    "out_strength_mean": Variant(
        "Mean influence that a component sends over a feasible edge: s_i / k_i.",
        {"direction": "out"},
    ),
}


def compute(weights: Array, *, direction: Direction) -> Array:
    """Return the mean of every component."""
    axis = AXIS[direction] - 1  # graphs are last

    def batch_mean(batch: Array) -> Array:
        absent = np.isnan(batch)
        return divide(np.where(absent, 0, batch).sum(axis=axis), (~absent).sum(axis=axis))

    return batched_last(batch_mean, weights)


def reference(graph: nx.DiGraph, *, direction: Direction) -> dict[object, float]:
    """Divide networkx's weighted degree by its degree."""
    degree = graph.in_degree if direction == "in" else graph.out_degree
    strength = degree(weight="weight")
    return {n: strength[n] / k if k else float("nan") for n, k in degree()}
