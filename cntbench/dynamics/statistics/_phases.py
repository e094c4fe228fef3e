"""What statistics of a number of phases share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.segments import MOST, most
from cntbench.dynamics.statistics._base import Statistic
from cntbench.dynamics.trajectory import trajectory
from cntbench.specs import spec


@spec
class PhaseStatistic(Statistic):
    """A statistic of a number of phases of the metric trajectory.

    Parameters
    ----------
    phases
        Number of phases.
    """

    phases: Annotated[int, Field(ge=2, le=MOST + 1)]

    needs: ClassVar[int] = 40
    own_nulls: ClassVar[dict[str, str]] = {
        "autoregressive": "The metric trajectory wanders, and has no transitions."
    }

    def features(self, film: Film) -> Array:
        """Return the metric trajectory; raises `Undefined` if the film is too short."""
        features = trajectory(film)
        if most(len(features)) < self.phases - 1:
            raise Undefined(f"the film is too short for {self.phases} phases")
        return features
