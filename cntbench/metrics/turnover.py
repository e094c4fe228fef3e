"""Edge turnover from one checkpoint to the next: 1 − Σ min(v, w) / Σ max(v, w).

The weighted Jaccard distance of the edges of the two graphs: 0 if no weight has changed, 1 if they
share no weight. 0 between two graphs without weight. Source: Jaccard 1901, weighted by Ruzicka
1958.

>>> import numpy as np
>>> compute(np.array([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.5], [0.0, 0.0]]]))
array([nan, 0.5])
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array, Metric, divide

METRIC = Metric(per="transition", lower=0, upper=1, degree=0, null="time_order")


def compute(weights: Array) -> Array:
    """Return the turnover from the previous checkpoint to each; NaN at the first."""
    change = np.full(weights.shape[:-2], np.nan)
    change[..., 1:] = turnover(weights[..., :-1, :, :], weights[..., 1:, :, :])
    return change


def turnover(earlier: Array, later: Array) -> NDArray[np.float64]:
    """Return the turnover between graphs, dims ``…, source, target`` → ``…``."""
    shared = np.nansum(np.minimum(earlier, later), axis=(-2, -1), dtype=np.float64)
    union = np.nansum(np.maximum(earlier, later), axis=(-2, -1), dtype=np.float64)
    return 1 - divide(shared, union, 1.0)


def reference(earlier: nx.DiGraph, later: nx.DiGraph) -> float:
    """Compare the two graphs edge by edge."""
    shared = union = 0.0
    for source, target, weight in earlier.edges(data="weight"):
        other = later.edges[source, target]["weight"]
        shared += min(weight, other)
        union += max(weight, other)
    return 1 - shared / union if union else 0.0
