"""What a component receives or sends over its feasible edges, as a sum or as a mean.

s_j = Σ_i w_ij (in) and s_i = Σ_j w_ij (out); the means are s_j / k_j and s_i / k_i, where k counts
the feasible edges of the component. Division by k removes an advantage that depends on the layer
alone: late components have more sources, early ones more targets. Source: Barrat et al. 2004, "The
architecture of complex weighted networks" (strength), directed.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 0.25], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, direction="in", mean=False)
array([0.  , 0.5 , 1.25])
>>> compute(weights, direction="in", mean=True)
array([  nan, 0.5  , 0.625])
>>> compute(weights, direction="out", mean=True)
array([0.375, 1.   ,   nan])
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np

from cntbench.metrics._base import AXIS, Array, Direction, Metric, divide
from cntbench.metrics._batches import batched_last
from cntbench.plugins import Variant

METRIC = Metric(per="source", lower=0, upper=np.inf, degree=1, null="layer_pairs")

_NO_EDGES = "components without feasible {} have no edges to average"

VARIANTS = {
    "in_strength": Variant(
        "Sum of the influences that a component receives: s_j = Σ_i w_ij over its feasible edges.",
        {"direction": "in", "mean": False},
        {"METRIC": replace(METRIC, per="target")},
    ),
    "in_strength_mean": Variant(
        "Mean influence that a component receives over a feasible edge: s_j / k_j.",
        {"direction": "in", "mean": True},
        {"METRIC": replace(METRIC, per="target", undefined=_NO_EDGES.format("sources"))},
    ),
    "out_strength": Variant(
        "Sum of the influences that a component sends: s_i = Σ_j w_ij over its feasible edges.",
        {"direction": "out", "mean": False},
    ),
    "out_strength_mean": Variant(
        "Mean influence that a component sends over a feasible edge: s_i / k_i.",
        {"direction": "out", "mean": True},
        {"METRIC": replace(METRIC, undefined=_NO_EDGES.format("targets"))},
    ),
}


def compute(weights: Array, *, direction: Direction, mean: bool) -> Array:
    """Return the strength of every component, or its mean over feasible edges."""
    axis = AXIS[direction] - 1  # graphs are last

    def batch_strength(batch: Array) -> Array:
        absent = np.isnan(batch)
        strength = np.where(absent, 0, batch).sum(axis=axis)
        return divide(strength, (~absent).sum(axis=axis)) if mean else strength

    return batched_last(batch_strength, weights)


def reference(graph: nx.DiGraph, *, direction: Direction, mean: bool) -> dict[object, float]:
    """Return networkx's weighted degree, divided by its degree for the mean."""
    degree = graph.in_degree if direction == "in" else graph.out_degree
    strength = dict(degree(weight="weight"))
    if not mean:
        return strength
    return {n: strength[n] / k if k else float("nan") for n, k in degree()}
