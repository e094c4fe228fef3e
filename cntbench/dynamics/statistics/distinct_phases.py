"""How much better a number of distinct phases explains the metric trajectory than alternatives.

The smaller of two logarithmic likelihood ratios, in nat per value of the metric trajectory
(`cntbench.dynamics.trajectory`): the advantage A of that number of phases over a smooth curve, and
its excess over the advantage of the best other number, where each further transition costs 0.04. It
is positive if this number of phases describes the course best. Transitions between phases may be
sudden or gradual (`cntbench.dynamics.segments`).

Its null model ``autoregressive`` draws trajectories without transitions that wander as much.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cntbench.dynamics import segments
from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.resampling import block_length, resampled_blocks
from cntbench.dynamics.statistics._base import PhaseStatistic
from cntbench.dynamics.trajectory import standardised, trajectory
from cntbench.metrics._base import divide
from cntbench.specs import spec

#: Series with planted phases by which power is measured.
_PLANTED = 100


@spec
class Parameters(PhaseStatistic):
    """Parameters of the statistic: the number of phases."""

    units: ClassVar[str] = "nat per value"
    floor: ClassVar[float] = 0.0

    def series(self, film: Film) -> Array:
        """Return each checkpoint's contribution to the advantage."""
        features = self.features(film)
        if not features.any():
            raise Undefined("no metric ever changes")
        segmentation = segments.segment(features)
        index = self.phases - 2
        series = _contributions(features, segmentation, index)
        score = segments.scores(segmentation.advantage)
        rival = int(np.delete(score, index).argmax())
        rival += rival >= index
        if score[index] - score[rival] < segmentation.advantage[index]:
            series -= _contributions(features, segmentation, rival)
            series += segments.FURTHER * (rival - index)
        return series

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic of surrogates, or 0 where it is negative."""
        return self._excess(segments.advantages(segments.surrogates(trajectory(film), rng, size)))

    def power(
        self, film: Film, minimum: float, needed: float, error: float, rng: np.random.Generator
    ) -> float:
        """Return how often phases would be found if they explained as much as the fitted levels.

        Levels of equal length and random height, with transitions of an eighth of the film, replace
        the film's best levels; its residuals are added in blocks in random order. The phases are
        found if the statistic reaches the effect that the test needs.
        """
        features = trajectory(film)
        segmentation = segments.segment(features)
        fitted = segments.levels(features, segmentation.transitions[segmentation.number - 1])
        drawn = self._planted(features, fitted, rng)
        # A statistic of 0 means that they are not found: surrogates have it too.
        return float((self._excess(segments.advantages(drawn)) > max(needed, 0)).mean())

    def _planted(self, features: Array, fitted: Array, rng: np.random.Generator) -> Array:
        """Return series with planted phases, and the residuals of the film as noise."""
        count = len(features)
        width, at = max(1, count // 8), np.linspace(0, count, self.phases + 1)[1:-1]
        steps = np.clip((np.arange(count)[:, None] - at) / width + 0.5, 0, 1)
        heights = rng.standard_normal((_PLANTED, self.phases - 1, features.shape[1]))
        planted = standardised(steps @ heights) * fitted.std(axis=0)
        order = resampled_blocks(count, block_length(count), rng, _PLANTED)
        return standardised(planted + (features - fitted)[order])

    def _excess(self, advantage: Array) -> Array:
        """Return the statistic by A_k, dims ``draw, transitions``, or 0 if it is negative."""
        score, index = segments.scores(advantage), self.phases - 2
        over = score[:, index] - np.delete(score, index, axis=1).max(axis=1, initial=-np.inf)
        return np.maximum(np.minimum(advantage[:, index], over), self.floor)


def _contributions(features: Array, segmentation: segments.Segmentation, index: int) -> Array:
    """Return each checkpoint's contribution to A_k: half the difference of its squared residuals.

    Residuals are divided by each feature's variance, so their contributions have mean 0 and A_k is
    the mean of the series.
    """
    fits = (
        segments.curve(features, 2 * (index + 1)),
        segments.levels(features, segmentation.transitions[index]),
    )
    squares = [np.square(features - fitted) for fitted in fits]
    smooth, stepped = (divide(square, square.mean(axis=0), 1.0).mean(axis=1) for square in squares)
    return np.asarray(segmentation.advantage[index] + (smooth - stepped) / 2)
