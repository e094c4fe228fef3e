"""How much more alike neighbouring checkpoints are than checkpoints half a film apart.

1 − d(1) / d(h), where d(l) is the mean turnover of edges (1 − weighted Jaccard) between checkpoints
that lie l apart, and h is half their number: 0 if the order of the checkpoints does not matter,
near 1 if change accumulates. Source: von Neumann 1941, "Distribution of the ratio of the mean
square successive difference to the variance", for another distance.

Under ``time_order`` checkpoints are exchangeable, so that its p-value is exact. It is part of every
claim about dynamics: where any order of the graphs would do, nothing has been learnt about time.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.statistics._base import Statistic
from cntbench.dynamics.undefined import Undefined
from cntbench.specs import spec


@spec
class Parameters(Statistic):
    """The statistic takes no parameters."""

    units: ClassVar[str] = "share of turnover"

    def series(self, film: Film) -> Array:
        """Return 1 − distance over d(h) of every two neighbours."""
        half = max(len(film) // 2, 1)
        far = float(_turnover(film.weights[:-half], film.weights[half:]).mean())
        if not far:
            raise Undefined("checkpoints half a film apart do not differ at all")
        return np.asarray(1 - _turnover(film.weights[:-1], film.weights[1:]) / far)


def _turnover(earlier: Array, later: Array) -> Array:
    """Return 1 − weighted Jaccard of graphs, dims ``…``; 0 between two without any weight."""
    shared = np.nansum(np.minimum(earlier, later), axis=(-2, -1))
    union = np.nansum(np.maximum(earlier, later), axis=(-2, -1))
    return np.asarray(1 - np.divide(shared, union, out=np.ones_like(union), where=union > 0))
