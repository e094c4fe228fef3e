"""Number of edges of the backbone that a component receives.

The backbone is the disparity filter's, ``tasks/backbones/disparity.toml``: edges that stand out
among those of their source or target. Source: Serrano, Boguñá and Vespignani 2009, "Extracting the
multiscale backbone of complex weighted networks".

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 2.0], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, backbone=weights > 1)
array([0, 0, 1])
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array, Metric

METRIC = Metric(
    per="target",
    lower=0,
    upper=np.inf,
    degree=0,
    null="layer_pairs",
    needs=("backbone",),
    backbone="disparity",
)


def compute(weights: Array, *, backbone: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the degree of every component."""
    return np.asarray(backbone.sum(axis=-2))


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Return networkx's in-degree on the backbone."""
    return dict(graph.in_degree(weight="backbone"))
