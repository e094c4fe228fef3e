"""How much better a number of distinct phases explains the metric trajectory than anything else.

The advantage A of that number of phases over a smooth curve of as many parameters, minus the
largest advantage of any other number of phases, including one phase (A = 0): the share of the
variance of the metric trajectory (`cntbench.dynamics.trajectory`) that only this number explains
(`cntbench.dynamics.segments`). Positive if this number of phases describes the course best.

Its null model ``autoregressive`` draws trajectories without change points that wander as much.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.segments import (
    MOST,
    PRICE,
    Segmentation,
    curve,
    means,
    most,
    segment,
    surrogates,
)
from cntbench.dynamics.statistics._base import Statistic
from cntbench.dynamics.trajectory import trajectory
from cntbench.specs import spec


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    phases
        Number of phases.
    """

    phases: Annotated[int, Field(ge=2, le=MOST + 1)]

    needs: ClassVar[int] = 40
    own_nulls: ClassVar[dict[str, str]] = {
        "autoregressive": "The metric trajectory wanders, and has no change points."
    }
    units: ClassVar[str] = "share of variance"

    def series(self, film: Film) -> Array:
        """Return each checkpoint's contribution to the advantage."""
        features = trajectory(film)
        segmentation = segment(features)
        if most(len(features)) < self.phases - 1:
            raise Undefined(f"the film is too short for {self.phases} phases")
        total = np.square(features).sum()
        if not total:
            raise Undefined("no metric ever changes")

        def contributions(index: int) -> Array:
            parts = _parts(features, segmentation, index) * len(features) / total
            return parts - PRICE * (index + 1)

        index = self.phases - 2
        rival = int(np.delete(segmentation.advantage, index).argmax())
        rival += rival >= index
        series = contributions(index)
        if segmentation.advantage[rival] > 0:
            series -= contributions(rival)
        return series

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic of surrogates, or 0 where it is negative: they have one phase."""
        drawn = surrogates(trajectory(film), rng, size)
        return np.array([self._excess(segment(features).advantage) for features in drawn])

    def _excess(self, advantage: Array) -> float:
        others = np.delete(advantage, self.phases - 2)
        return max(0.0, float(advantage[self.phases - 2] - others.max(initial=0)))


def _parts(features: Array, segmentation: Segmentation, index: int) -> Array:
    """Return each checkpoint's squared residual from the curve minus that from the segments."""
    smooth = features - curve(features, 2 * (index + 1))
    segments = features - means(features, segmentation.changes[index])
    return np.asarray((smooth**2 - segments**2).sum(axis=1))
