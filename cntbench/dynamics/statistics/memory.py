"""How much more alike neighbouring checkpoints are than checkpoints half a film apart.

1 − d(1) / d(h), where d(l) is the mean turnover of edges (1 − weighted Jaccard) between checkpoints
l apart, and h is half their number: 0 if the order of the checkpoints does not matter, near 1 if
change accumulates. Source: von Neumann 1941, "Distribution of the ratio of the mean square
successive difference to the variance", with another distance.

Under ``time_order``, checkpoints are exchangeable, so the p-value is exact. Every claim about
dynamics includes this test: if any order of the graphs would do, the film says nothing about time.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.statistics._base import Statistic
from cntbench.metrics.turnover import turnover
from cntbench.specs import spec


@spec
class Parameters(Statistic):
    """The statistic takes no parameters."""

    units: ClassVar[str] = "share of turnover"
    limits: ClassVar[tuple[float, float]] = (-np.inf, 1)

    def series(self, film: Film) -> Array:
        """Return 1 − turnover / d(h) of every two neighbours."""
        half = max(len(film) // 2, 1)
        far = float(turnover(film.weights[:-half], film.weights[half:]).mean())
        if not far:
            raise Undefined("checkpoints half a film apart do not differ at all")
        return 1 - turnover(film.weights[:-1], film.weights[1:]) / far
