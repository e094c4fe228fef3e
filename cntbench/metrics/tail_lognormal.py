"""How much better a log-normal fits the tail of the weights than an exponential, per edge.

Mean logarithmic likelihood ratio over the larger half of the weights; both maximise the likelihood.
Positive does not mean a heavy tail: a log-normal also fits tails that are lighter than exponential.
Where `tail_power_law` is positive too, the larger of the two says which is the better fit.
`cntbench.metrics._tail` has the equations. Source: Clauset, Shalizi and Newman 2009, "Power-law
distributions in empirical data"; Vuong 1989, "Likelihood ratio tests for model selection".

>>> import numpy as np
>>> weights = np.full((41, 41), np.nan)
>>> weights[0, 1:] = 1 / np.arange(1, 41)
>>> float(compute(weights).round(3))
0.211
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics import _tail
from cntbench.metrics._base import Array, Metric

METRIC = Metric(
    per="graph",
    lower=-np.inf,
    upper=np.inf,
    degree=0,
    null="untrained",
    undefined=_tail.UNDEFINED,
    units="nat",
)


def compute(weights: Array) -> Array:
    """Return the comparison for every graph."""
    return _tail.ratios(weights, "log-normal").mean


def reference(graph: nx.DiGraph) -> float:
    """Fit one graph, edge by edge."""
    return _tail.reference(graph, "log-normal")[0]
