"""Share of the foremost gatherers or spreaders that have come or gone since the checkpoint before.

1 − |F ∩ F'| / |F ∪ F'|, where F are the quarter of the components (rounded up) with the largest
layer-corrected strengths (strength over what layers alone would give,
`cntbench.metrics._layers.layer_corrected`): in-strengths of gatherers, out-strengths of spreaders.
Components that are tied with the last of them, to nine digits, are in F too. Source: Jaccard 1901.

>>> import numpy as np
>>> weights = np.full((3, 4, 4), np.nan)
>>> weights[:, 0, 1:] = [[1, 2, 3], [1, 2, 4], [3, 2, 1]]
>>> compute(weights, layer=np.array([0, 1, 1, 1]), direction="in")
array([nan,  0.,  1.])
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics import _ranks
from cntbench.metrics._base import Array, Direction, Metric
from cntbench.plugins import Variant

METRIC = Metric(per="transition", lower=0, upper=1, degree=0, null="time_order", needs=("layer",))

VARIANTS = {
    "gatherer_change": Variant(
        "Share of the foremost gatherers that have come or gone since the checkpoint before.",
        {"direction": "in"},
    ),
    "spreader_change": Variant(
        "Share of the foremost spreaders that have come or gone since the checkpoint before.",
        {"direction": "out"},
    ),
}


def compute(weights: Array, *, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return the change from the previous checkpoint to each; NaN at the first."""
    return _ranks.front_change(weights, layer, direction)


def reference(earlier: nx.DiGraph, later: nx.DiGraph, *, direction: Direction) -> float:
    """Compare the sets of the components in front."""
    return _ranks.front_change_reference(earlier, later, direction)
