"""How far components keep their rank by what they receive or send: Kendall's τ over time.

τ_b between the layer-corrected strengths (strength over what layers alone would give,
`cntbench.metrics._layers.layer_corrected`) at a checkpoint and at the one so many usable
checkpoints before it. 1 for the same order, −1 for the opposite one. Components without feasible
edges take no part; values that agree to nine digits are tied. Source: Kendall 1945, "The treatment
of ties in ranking problems".

>>> import numpy as np
>>> weights = np.full((3, 4, 4), np.nan)
>>> weights[:, 0, 1:] = [[1, 2, 3], [1, 2, 4], [3, 2, 1]]
>>> compute(weights, layer=np.array([0, 1, 1, 1]), direction="in")[:, :2]
array([[nan, nan],
       [ 1., nan],
       [-1., -1.]])
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics import _ranks
from cntbench.metrics._base import Array, Direction, Metric
from cntbench.plugins import Variant

METRIC = Metric(
    per="lag",
    lower=-1,
    upper=1,
    degree=0,
    null="time_order",
    undefined="where all components are tied there is no rank order",
    needs=("layer",),
)

VARIANTS = {
    "in_rank_stability": Variant(
        "How far components keep their rank by what they receive: Kendall's τ with earlier "
        "checkpoints.",
        {"direction": "in"},
    ),
    "out_rank_stability": Variant(
        "How far components keep their rank by what they send: Kendall's τ with earlier "
        "checkpoints.",
        {"direction": "out"},
    ),
}


def compute(weights: Array, *, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return τ of each checkpoint with those before it."""
    return _ranks.stability(weights, layer, direction)


def reference(earlier: nx.DiGraph, later: nx.DiGraph, *, direction: Direction) -> float:
    """Go through all pairs of components."""
    return _ranks.stability_reference(earlier, later, direction)
