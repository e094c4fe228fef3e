"""Edge turnover from one checkpoint to the next per unit of logarithmic training time.

T / ln((t' + 1) / (t + 1)), where T is the turnover between steps t and t'. Division removes the
effect of the distance between checkpoints; the distance is logarithmic, as on the axis of a
learning curve. Adding 1 makes it defined at step 0. Source: Jaccard 1901, weighted by Ruzicka 1958.

>>> import numpy as np
>>> from cntbench.metrics import turnover
>>> weights = np.array([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.5], [0.0, 0.0]]])
>>> compute(weights, step=np.array([0, 9]), turnover=turnover.compute(weights)).round(3)
array([  nan, 0.217])
"""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics import turnover
from cntbench.metrics._base import Array, Metric

METRIC = Metric(
    per="transition", lower=0, upper=np.inf, degree=0, null="time_order", needs=("step", "turnover")
)


def compute(weights: Array, *, step: NDArray[np.integer], turnover: Array) -> Array:
    """Return the rate from the previous checkpoint to each; NaN at the first."""
    return turnover / np.diff(np.log1p(step), prepend=np.nan)


def reference(earlier: nx.DiGraph, later: nx.DiGraph) -> float:
    """Divide by the logarithm of the ratio of the steps."""
    log_ratio = math.log((later.graph["step"] + 1) / (earlier.graph["step"] + 1))
    return turnover.reference(earlier, later) / log_ratio
