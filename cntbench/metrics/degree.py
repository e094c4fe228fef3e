"""Number of edges of the backbone that a component receives or sends.

The disparity filter, ``tasks/backbones/disparity.toml``, selects the backbone: edges that stand out
among those of their source or target. Source: Serrano, Boguñá and Vespignani 2009, "Extracting the
multiscale backbone of complex weighted networks".

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 2.0], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, backbone=weights > 1, direction="in")
array([0, 0, 1])
>>> compute(weights, backbone=weights > 1, direction="out")
array([1, 0, 0])
"""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import AXIS, Array, Direction, Metric
from cntbench.plugins import Variant

METRIC = Metric(
    per="source",
    lower=0,
    upper=np.inf,
    degree=0,
    null="layer_pairs",
    needs=("backbone",),
    backbone="disparity",
)

VARIANTS = {
    "in_degree": Variant(
        "Number of edges of the backbone that a component receives.",
        {"direction": "in"},
        {"METRIC": replace(METRIC, per="target")},
    ),
    "out_degree": Variant(
        "Number of edges of the backbone that a component sends.", {"direction": "out"}
    ),
}


def compute(
    weights: Array, *, backbone: NDArray[np.bool_], direction: Direction
) -> NDArray[np.int64]:
    """Return the degree of every component."""
    return np.asarray(backbone.sum(axis=AXIS[direction]))


def reference(graph: nx.DiGraph, *, direction: Direction) -> dict[object, float]:
    """Return networkx's degree on the backbone."""
    degree = graph.in_degree if direction == "in" else graph.out_degree
    return dict(degree(weight="backbone"))
