"""Authority score: components that are influenced by those that influence much.

a ∝ Wᵀ h, where h is the hub score; scores sum to 1 over the components. 0 without any weight.
Source: Kleinberg 1999, "Authoritative sources in a hyperlinked environment" (HITS), weighted.

>>> import numpy as np
>>> compute(np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])).round(3)
array([0.   , 0.111, 0.889])
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from cntbench.metrics import _hits
from cntbench.metrics._base import Array, Metric

METRIC = Metric(per="target", lower=0, upper=1, degree=0, null="layer_pairs")


def compute(weights: Array) -> Array:
    """Return every component's score as an authority."""
    return _hits.authorities(weights)


def reference(graph: nx.DiGraph) -> dict[object, float]:
    """Take the score from the eigenvectors of WᵀW."""
    return dict(zip(graph, np.asarray(_hits.by_eigenvectors(graph)[1]).tolist(), strict=True))
