"""Whether phases lead from exploration to refinement: settled and concentrated at the end.

The smaller of two differences between the last and the first of a number of phases: in how settled
the graph is (less turnover, more stable orders) and in its concentration, both in standard
deviations of the film (`cntbench.dynamics.phases`). The phases are the segments that fit the metric
trajectory best (`cntbench.dynamics.segments`), whether or not they are distinct.

Its null model ``autoregressive`` draws trajectories without change points that wander as much.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.phases import concentration, settled
from cntbench.dynamics.segments import MOST, change_points, most, surrogates
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
    units: ClassVar[str] = "standard deviations"

    def series(self, film: Film) -> Array:
        """Return each checkpoint's contribution to the smaller difference."""
        features = trajectory(film)
        if most(len(features)) < self.phases - 1:
            raise Undefined(f"the film is too short for {self.phases} phases")
        return self._course(features)

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic of surrogates of the metric trajectory."""
        drawn = surrogates(trajectory(film), rng, size)
        return np.array([self._course(features).mean() for features in drawn])

    def _course(self, features: Array) -> Array:
        changes = change_points(features)[self.phases - 2]
        weights = np.zeros(len(features))
        weights[: changes[0]] = -1 / changes[0]
        weights[changes[-1] :] = 1 / (len(features) - changes[-1])
        parts = [weights * of(features) for of in (settled, concentration)]
        return np.asarray(min(parts, key=np.sum) * len(features))
