"""Intervals of means: by Student's t for independent values, by blocks for successive ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cntbench.prompts import random_state

CONFIDENCE = 0.95
RESAMPLES = 2000

Array = NDArray[np.float64]


def t_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return mean, lower and upper bound over the defined values, such as one for each seed.

    Returns
    -------
    tuple of float
        NaN bounds for fewer than two values, and NaN throughout for none.
    """
    given = np.asarray(values, dtype=np.float64)
    given = given[~np.isnan(given)]
    if not len(given):
        return np.nan, np.nan, np.nan
    mean = float(given.mean())
    if len(given) < 2:
        return mean, np.nan, np.nan
    half = float(stats.sem(given) * stats.t.ppf((1 + confidence) / 2, len(given) - 1))
    return mean, mean - half, mean + half


def block_interval(
    values: ArrayLike, *, seed: int = 0, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Return mean and bootstrap interval over successive checkpoints, which resemble each other.

    The circular block bootstrap of Politis & Romano 1992: the n defined values are drawn anew in
    blocks of ⌈n^(1/3)⌉ neighbours, the last following the first; the bounds are percentiles of the
    means.

    Returns
    -------
    tuple of float
        NaN bounds for fewer than two values, and NaN throughout for none.
    """
    given = np.asarray(values, dtype=np.float64)
    given = given[~np.isnan(given)]
    count = len(given)
    if not count:
        return np.nan, np.nan, np.nan
    if count < 2:
        return float(given[0]), np.nan, np.nan
    length = int(np.ceil(np.cbrt(count)))
    starts = random_state(seed, "block bootstrap").randint(
        0, count, (RESAMPLES, -(-count // length))
    )
    drawn = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count] % count
    tail = (1 - confidence) / 2
    low, high = np.quantile(given[drawn].mean(axis=1), [tail, 1 - tail])
    return float(given.mean()), float(low), float(high)
