"""Whether phases lead from exploration to refinement, settled and concentrated at the end.

The smaller of two differences between the last and the first phase: in how settled the graph is
(less turnover, more stable orders), and in its concentration, both in standard deviations of the
film (`cntbench.dynamics.phases`). The phases are the levels that fit the metric trajectory best
(`cntbench.dynamics.segments`), whether or not they are distinct.

Its null model ``autoregressive`` draws trajectories without transitions that wander as much.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.phases import concentration, settled
from cntbench.dynamics.segments import best_transitions, surrogates
from cntbench.dynamics.statistics._base import PhaseStatistic
from cntbench.dynamics.trajectory import trajectory
from cntbench.specs import spec


@spec
class Parameters(PhaseStatistic):
    """Parameters of the statistic: the number of phases."""

    units: ClassVar[str] = "standard deviations"

    def series(self, film: Film) -> Array:
        """Return each checkpoint's contribution to the smaller difference."""
        features = self.features(film)
        return self._courses(features[None])[0]

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic of surrogates of the metric trajectory."""
        drawn = surrogates(trajectory(film), rng, size)
        return np.asarray(self._courses(drawn).mean(axis=1))

    def _courses(self, drawn: Array) -> Array:
        """Return contributions to the smaller difference, dims ``draw, checkpoint``."""
        ends = best_transitions(drawn, self.phases - 1)
        series = []
        for features, transitions in zip(drawn, ends, strict=True):
            first, last = transitions[0, 0], transitions[-1, 1]
            weights = np.zeros(len(features))
            weights[:first] = -1 / first
            weights[last:] = 1 / (len(features) - last)
            parts = [weights * of(features) for of in (settled, concentration)]
            series.append(min(parts, key=np.sum) * len(features))
        return np.array(series)
