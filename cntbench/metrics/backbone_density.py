"""Share of the feasible edges that are in the backbone.

The disparity filter, ``tasks/backbones/disparity.toml``, selects the backbone: edges that stand out
among those of their source or target. It selects none if all weights are alike. NaN for graphs
without feasible edges. Source: Serrano, Boguñá and Vespignani 2009, "Extracting the multiscale
backbone of complex weighted networks".

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 2.0], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> float(compute(weights, backbone=weights > 1).round(3))
0.333
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array, Metric, divide

METRIC = Metric(
    per="graph",
    lower=0,
    upper=1,
    degree=0,
    null="layer_pairs",
    needs=("backbone",),
    backbone="disparity",
)


def compute(weights: Array, *, backbone: NDArray[np.bool_]) -> Array:
    """Return the density of every graph's backbone."""
    return divide(backbone.sum(axis=(-2, -1)), (~np.isnan(weights)).sum(axis=(-2, -1)))


def reference(graph: nx.DiGraph) -> float:
    """Count the edges one by one."""
    members = [in_backbone for _, _, in_backbone in graph.edges(data="backbone")]
    return sum(members) / len(members) if members else float("nan")
