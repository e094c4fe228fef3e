"""Confidence intervals: Student's t if values are independent, else for time series.

`t_interval` and `film_interval` return mean, lower and upper bound of the values that are not NaN;
NaN bounds for too few values, and NaN throughout for none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from cntbench.dynamics.resampling import FEWEST, TAIL, mean_interval

Array = NDArray[np.float64]


def t_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Return mean and bounds of independent values, such as one per seed."""
    defined, mean = _defined(values)
    count = len(defined)
    if count < 2:
        return mean, np.nan, np.nan
    error = defined.std(ddof=1) / np.sqrt(count)
    half = float(error * special.stdtrit(count - 1, 1 - TAIL))
    return mean, mean - half, mean + half


def jackknife_interval(value: ArrayLike, left_out: Array) -> tuple[Array, Array]:
    """Return the bounds of a function of the means of prompts, such as a ratio of means.

    Student's t times the jackknife's standard error. Bounds are NaN for a single prompt.
    Source: Tukey 1958, "Bias and confidence in not quite large samples". ``docs/calibration.md``
    gives the coverage.

    Parameters
    ----------
    value
        The function of the means of all prompts.
    left_out
        The function of the means of all prompts but one, dims ``prompt``, then those of ``value``.
    """
    count = len(left_out)
    if count < 2:
        return np.full(np.shape(value), np.nan), np.full(np.shape(value), np.nan)
    error = np.sqrt((count - 1) * left_out.var(axis=0))
    half = error * special.stdtrit(count - 1, 1 - TAIL)
    return np.asarray(value - half), np.asarray(value + half)


def film_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Return mean and bounds of correlations or shares at successive checkpoints.

    Neighbours resemble each other, which `cntbench.dynamics.resampling.mean_interval` allows for.
    NaN bounds for fewer than `FEWEST` values: ``docs/calibration.md`` gives the coverage.
    """
    defined, mean = _defined(values)
    if len(defined) < FEWEST:
        return mean, np.nan, np.nan
    low, high = np.clip(mean_interval(defined), -1, 1)
    return mean, float(low), float(high)


def _defined(values: ArrayLike) -> tuple[Array, float]:
    """Return the values that are not NaN, and their mean."""
    array = np.asarray(values, dtype=np.float64)
    defined = array[~np.isnan(array)]
    return defined, float(defined.mean()) if len(defined) else np.nan
