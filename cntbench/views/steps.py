"""The axis of training steps: logarithmic, except for step 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StepAxis:
    """Positions of steps on an axis that is logarithmic except for step 0.

    Parameters
    ----------
    first
        The smallest step above 0; 1 if there is none.
    ticks
        Steps with a tick, rising.
    """

    first: int
    ticks: tuple[int, ...]

    def place(self, steps: ArrayLike) -> Array:
        """Return the positions of steps, any dims: log10(step); step 0 is half a decade lower.

        Steps between 0 and the first one, such as bounds of intervals, are interpolated.
        """
        values = np.asarray(steps, dtype=np.float64)
        start = np.log10(self.first)
        below = start - 0.5 * (1 - values / self.first)
        return np.where(values < self.first, below, np.log10(np.maximum(values, self.first)))

    @property
    def places(self) -> tuple[float, ...]:
        """Positions of the ticks."""
        return tuple(map(float, self.place(self.ticks)))


def step_axis(steps: ArrayLike) -> StepAxis:
    """Return the axis for a trajectory.

    Parameters
    ----------
    steps
        Training steps, dims ``checkpoint``, rising.

    Examples
    --------
    >>> step_axis([0, 1, 20, 300]).ticks
    (0, 1, 10, 100, 300)
    """
    values = np.unique(np.asarray(steps, dtype=np.int64))
    positive = values[values > 0]
    if not len(positive):
        return StepAxis(1, (0,) if len(values) else ())
    first, last = int(positive[0]), int(positive[-1])
    decades = range(int(np.ceil(np.log10(first))), int(np.floor(np.log10(last))) + 1)
    ticks = [0] if values[0] == 0 else []
    ticks += [10**decade for decade in decades] or [first]
    if last > 1.6 * ticks[-1]:  # closer labels would overlap
        ticks.append(last)
    return StepAxis(first, tuple(ticks))
