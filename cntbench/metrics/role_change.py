"""Share of the foremost gatherers or spreaders that have changed since the checkpoint before.

1 − |F ∩ F'| / |F ∪ F'|, where F is the quarter of the components (rounded up) with the largest
layer-corrected strengths (`cntbench.metrics._layers.layer_corrected`): in-strengths for gatherers,
out-strengths for spreaders. F also holds components tied with its last one, to nine digits. NaN if
no component has an edge. Source: Jaccard 1901.

>>> from functools import partial
>>> import numpy as np
>>> from cntbench.metrics._layers import ranked_strengths
>>> weights = np.full((3, 4, 4), np.nan)
>>> weights[:, 0, 1:] = [[1, 2, 3], [1, 2, 4], [3, 2, 1]]
>>> ranked = partial(ranked_strengths, weights, np.array([0, 1, 1, 1]))
>>> compute(weights, ranked_strengths=ranked, direction="in")
array([nan,  0.,  1.])
"""

from __future__ import annotations

import math
from collections.abc import Callable

import networkx as nx
import numpy as np

from cntbench.metrics._base import TIE, Array, Direction, Metric
from cntbench.metrics._layers import ranked_strengths_reference
from cntbench.plugins import Variant

METRIC = Metric(
    per="transition", lower=0, upper=1, degree=0, null="time_order", needs=("ranked_strengths",)
)

VARIANTS = {
    "gatherer_change": Variant(
        "Share of the foremost gatherers that have changed since the checkpoint before.",
        {"direction": "in"},
    ),
    "spreader_change": Variant(
        "Share of the foremost spreaders that have changed since the checkpoint before.",
        {"direction": "out"},
    ),
}

#: Fraction of the components that are foremost.
FRONT = 0.25


def compute(
    weights: Array, *, ranked_strengths: Callable[[Direction], Array], direction: Direction
) -> Array:
    """Return the change from the previous checkpoint to each; NaN at the first."""
    strengths = ranked_strengths(direction)
    change = np.full(strengths.shape[:-1], np.nan)
    count = strengths.shape[-1]
    if count:
        index = count - math.ceil(FRONT * count)
        threshold = np.partition(strengths, index, axis=-1)[..., index, None]
        front = strengths >= threshold * (1 - TIE)
        shared = (front[..., 1:, :] & front[..., :-1, :]).sum(axis=-1)
        union = (front[..., 1:, :] | front[..., :-1, :]).sum(axis=-1)
        change[..., 1:] = 1 - shared / union
    return change


def reference(earlier: nx.DiGraph, later: nx.DiGraph, *, direction: Direction) -> float:
    """Compare the two sets of foremost components."""
    fronts = []
    for graph in (earlier, later):
        strengths = ranked_strengths_reference(graph, direction)
        if not strengths:
            return float("nan")
        threshold = sorted(strengths.values(), reverse=True)[math.ceil(FRONT * len(strengths)) - 1]
        fronts.append({node for node, x in strengths.items() if x >= threshold * (1 - TIE)})
    return 1 - len(fronts[0] & fronts[1]) / len(fronts[0] | fronts[1])
