"""How surely a power law fits the tail of the weights better than an exponential.

Vuong's statistic: the mean logarithmic likelihood ratio over its standard error, in the larger half
of the weights. Standard normal where both fit equally well, if the edges are independent.
Positive: the tail is heavier than an exponential one, as that of a power law is. That the
log-normal fits better still, `tail_lognormal`, does not count against it.
`cntbench.metrics._tail` has the equations. Source: Clauset, Shalizi and Newman 2009, "Power-law
distributions in empirical data"; Vuong 1989, "Likelihood ratio tests for model selection".

>>> import numpy as np
>>> weights = np.full((41, 41), np.nan)
>>> weights[0, 1:] = 1 / np.arange(1, 41)
>>> float(compute(weights).round(3))
1.253
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
)


def compute(weights: Array) -> Array:
    """Return the comparison for every graph."""
    return _tail.ratios(weights, "power law").z


def reference(graph: nx.DiGraph) -> float:
    """Fit one graph, edge by edge."""
    return _tail.reference(graph, "power law")[1]
