"""When a task was learnt: onset, half-way step and steepest rise of its accuracy, with intervals.

Accuracy rises from its level at the first usable checkpoint, which is chance only if that one is
untrained. A checkpoint is above it if its accuracy exceeds it by two standard errors of the
difference. The onset is the first checkpoint from which all are above.

Intervals are parametric: accuracy is smoothed by the best curve that rises and then falls (isotonic
regression on either side of its peak), normal noise with the measured standard errors is added many
times, and each time the step is found again. Errors of few prompts are often too small; as in
Student's intervals, the noise is larger by the ratio of his quantile to a normal one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from cntbench.dynamics.film import prompts_of
from cntbench.dynamics.resampling import TAIL
from cntbench.prompts import random_state
from cntbench.results.film import usable
from cntbench.views.readouts import task_of_interest, usable_accuracy

Array = NDArray[np.float64]

#: Number of standard errors by which a value is above another one.
STANDS_OUT = 2.0
#: Number of curves that are drawn for the intervals.
_DRAWS = 400


@dataclass(frozen=True)
class DatedStep:
    """A training step with its 95 % interval; the bounds are NaN if errors were not measured."""

    step: float
    low: float
    high: float


@dataclass(frozen=True)
class EmergenceView:
    """When accuracy rose for good.

    Parameters
    ----------
    start, level
        Step and value of the first usable checkpoint.
    onset
        First checkpoint from which on all values are above it.
    halfway
        Where the smoothed curve has half of its rise, interpolated between checkpoints.
    steepest
        Where the largest rise between two neighbouring checkpoints begins. The interval ends where
        it would end.
    until
        Step at which it ends.
    """

    start: int
    level: float
    onset: DatedStep
    halfway: DatedStep
    steepest: DatedStep
    until: int


def emergence(dataset: xr.Dataset, task: str, *, draws: int = _DRAWS) -> EmergenceView | None:
    """Find when accuracy rose; None if its last usable value is not above its first one.

    Standard errors that were not measured count as 0, and leave the intervals undefined.

    Parameters
    ----------
    draws
        Number of curves that are drawn for the intervals; without any, these are undefined.
    """
    values, errors, steps = usable_accuracy(dataset, task)
    measured = draws > 0 and not np.isnan(errors).any()
    errors = np.nan_to_num(errors)
    if len(values) < 2 or not _above(values[None], errors)[0, -1]:
        return None
    smooth = smoothed(values)
    noise = random_state(0, "emergence").standard_normal((draws if measured else 1, len(values)))
    counted = dataset[["status", *({"prompts_measured"} & dataset.keys())]]
    cell = counted.isel(checkpoint=usable(dataset)).sel(task=task)
    noisy = smooth + _widening(cell) * errors * noise
    fits = smoothed(noisy)

    def moment(step: float, lows: Array, highs: Array) -> DatedStep:
        if not measured:
            return DatedStep(step, np.nan, np.nan)
        low = float(np.quantile(lows, TAIL, method="lower"))
        high = float(np.quantile(highs, 1 - TAIL, method="higher"))
        return DatedStep(step, min(low, step), max(high, step))

    onsets = steps[_onset(noisy, errors)]
    first = int(_onset(values[None], errors)[0])
    halves = _halfway(fits, steps)
    rises = np.diff(values).argmax()
    at = np.diff(noisy, axis=1).argmax(axis=1)
    return EmergenceView(
        start=int(steps[0]),
        level=float(values[0]),
        onset=moment(float(steps[first]), onsets, onsets),
        halfway=moment(float(_halfway(smooth[None], steps)[0]), halves, halves),
        steepest=moment(float(steps[rises]), steps[at], steps[at + 1]),
        until=int(steps[rises + 1]),
    )


def moments(tree: xr.DataTree) -> list[dict[str, Any]]:
    """Return name, checkpoint and step of up to three moments, in the order of training.

    They are the last checkpoint before the onset of the task of interest, the one nearest to its
    half-way step, and the last one; without an emergence the first, the middle and the last one.
    Checkpoints that do not count are left out.
    """
    root = tree.to_dataset(inherit=False)
    counts = np.flatnonzero(usable(root))
    if not len(counts):
        return []
    steps = root["step"].values
    risen = emergence(root, task_of_interest(root), draws=0)
    if len(counts) == 1:
        named = [("the only graph", counts[0])]
    elif risen is None:
        named = [("first", counts[0]), ("middle", counts[len(counts) // 2]), ("last", counts[-1])]
    else:
        earlier = counts[steps[counts] < risen.onset.step]
        nearest = counts[np.abs(steps[counts] - risen.halfway.step).argmin()]
        named = [("before", earlier[-1]), ("at half-way", nearest), ("after", counts[-1])]
    distinct = {int(checkpoint): name for name, checkpoint in reversed(named)}
    return [
        {"name": distinct[checkpoint], "checkpoint": checkpoint, "step": int(steps[checkpoint])}
        for checkpoint in sorted(distinct)
    ]


def _widening(cell: xr.Dataset) -> float:
    """Return how much wider Student's interval is than a normal one, for the fewest prompts."""
    degrees = max(prompts_of(cell).min() - 1, 1)
    return float(special.stdtrit(degrees, TAIL) / special.ndtri(TAIL))


def smoothed(values: Array) -> Array:
    """Return the best curves that rise and then fall: isotonic regression around their peaks.

    Dims ``…, checkpoint``.
    """
    rows = np.atleast_2d(values)
    rising = _rising(rows)
    before = np.arange(rows.shape[1]) < rising.argmax(axis=1)[:, None]
    falling = -_rising(-np.where(before, rows.max(), rows))
    return np.where(before, rising, falling).reshape(values.shape)


def _rising(rows: Array) -> Array:
    """Return the isotonic regression of each row, by that of all rows, each above the last."""
    from scipy.optimize import isotonic_regression

    above = np.ptp(rows) * np.arange(len(rows))[:, None]
    return np.asarray(isotonic_regression((rows + above).ravel()).x.reshape(rows.shape) - above)


def _above(values: Array, errors: Array) -> NDArray[np.bool_]:
    """Return which checkpoints are above the first one; dims ``draw, checkpoint``."""
    rise = values - values[:, :1]
    above: NDArray[np.bool_] = (rise > 0) & (rise > STANDS_OUT * np.hypot(errors, errors[0]))
    return above


def _onset(values: Array, errors: Array) -> NDArray[np.int64]:
    """Return the first checkpoint from which all are above, at the latest the last one."""
    above = _above(values, errors)
    trailing = np.logical_and.accumulate(above[:, ::-1], axis=1).sum(axis=1)
    onsets: NDArray[np.int64] = values.shape[1] - np.maximum(trailing, 1)
    return onsets


def _halfway(fits: Array, steps: NDArray[np.int64]) -> Array:
    """Return where smoothed curves first have half of their rise to the last value."""
    levels = (fits[:, :1] + fits[:, -1:]) / 2
    after = np.maximum((fits >= levels).argmax(axis=1), 1)
    rows = np.arange(len(fits))
    low, high = fits[rows, after - 1], fits[rows, after]
    rise = np.where(high > low, high - low, 1.0)
    share = np.clip((levels[:, 0] - low) / rise, 0, 1)
    halfway: Array = steps[after - 1] + share * (steps[after] - steps[after - 1])
    return halfway
