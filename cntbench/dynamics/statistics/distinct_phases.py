"""How much better a number of distinct phases explains the metric trajectory than anything else.

The advantage A of that many phases over a smooth curve of as many parameters, less the largest
advantage of any other number of phases, one phase (A = 0) among them: the share of the variance of
the metric trajectory (`cntbench.dynamics.trajectory`) that only this number explains
(`cntbench.dynamics.segments`). Positive if the course is best told as this number of phases.

Its null model ``autoregressive`` draws trajectories without change points that wander as much.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film
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
from cntbench.dynamics.undefined import Undefined
from cntbench.specs import spec


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    phases
        Their number.
    """

    phases: Annotated[int, Field(ge=2, le=MOST + 1)]

    needs: ClassVar[int] = 40
    own_nulls: ClassVar[dict[str, str]] = {
        "autoregressive": "The metric trajectory wanders, and has no change points."
    }
    units: ClassVar[str] = "share of variance"

    def series(self, film: Film) -> Array:
        """Return each checkpoint's part in the advantage."""
        features = trajectory(film)
        found = self._segmentation(features)
        total = np.square(features).sum()
        if not total:
            raise Undefined("no metric ever changes")
        at = self.phases - 2
        rival = int(np.delete(found.advantage, at).argmax())
        rival += rival >= at
        series = _parts(features, found, at) * len(features) / total - PRICE * (at + 1)
        if found.advantage[rival] > 0:
            series -= _parts(features, found, rival) * len(features) / total - PRICE * (rival + 1)
        return np.asarray(series)

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic of surrogates, or 0 where it is less: they have one phase."""
        drawn = surrogates(trajectory(film), rng, size)
        return np.array([self._excess(segment(one).advantage) for one in drawn])

    def _segmentation(self, features: Array) -> Segmentation:
        found = segment(features)
        if most(len(features)) < self.phases - 1:
            raise Undefined(f"the film is too short for {self.phases} phases")
        return found

    def _excess(self, advantage: Array) -> float:
        others = np.delete(advantage, self.phases - 2)
        return max(0.0, float(advantage[self.phases - 2] - others.max(initial=0)))


def _parts(features: Array, found: Segmentation, at: int) -> Array:
    """Return each checkpoint's squared residual from the curve less that from the segments."""
    smooth = features - curve(features, 2 * (at + 1))
    segments = features - means(features, found.changes[at])
    return np.asarray((smooth**2 - segments**2).sum(axis=1))
