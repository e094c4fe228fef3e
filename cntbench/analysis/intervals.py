"""Confidence intervals of means: Student's t if values are independent, else a block bootstrap.

Both return mean, lower and upper bound of the values that are not NaN; NaN bounds for fewer than
two values, and NaN throughout for none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from cntbench.prompts import random_state

CONFIDENCE = 0.95
RESAMPLES = 2000

Array = NDArray[np.float64]


def t_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Return mean and bounds of independent values, such as one per seed."""
    defined, mean = _defined(values)
    count = len(defined)
    if count < 2:
        return mean, np.nan, np.nan
    error = defined.std(ddof=1) / np.sqrt(count)
    half = float(error * special.stdtrit(count - 1, (1 + CONFIDENCE) / 2))
    return mean, mean - half, mean + half


def block_interval(values: ArrayLike, *, seed: int = 0) -> tuple[float, float, float]:
    """Return mean and bounds over successive checkpoints, which are correlated.

    The circular block bootstrap of Politis & Romano 1992: the n defined values are resampled in
    blocks of ⌈n^(1/3)⌉ neighbours, where the first value follows the last. The bounds are
    percentiles of the means.
    """
    defined, mean = _defined(values)
    count = len(defined)
    if count < 2:
        return mean, np.nan, np.nan
    length = int(np.ceil(np.cbrt(count)))
    starts = random_state(seed, "block bootstrap").randint(
        0, count, (RESAMPLES, -(-count // length))
    )
    drawn = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count] % count
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(defined[drawn].mean(axis=1), [tail, 1 - tail])
    return mean, float(low), float(high)


def _defined(values: ArrayLike) -> tuple[Array, float]:
    """Return the values that are not NaN, and their mean."""
    array = np.asarray(values, dtype=np.float64)
    defined = array[~np.isnan(array)]
    return defined, float(defined.mean()) if len(defined) else np.nan
