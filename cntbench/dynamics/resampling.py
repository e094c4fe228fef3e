"""Resampling of a series whose moments resemble their neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array

CONFIDENCE = 0.95
#: Probability beyond either bound of an interval.
TAIL = (1 - CONFIDENCE) / 2
RESAMPLES = 1000


def block_length(count: int) -> int:
    """Return the length of blocks of neighbours: the square root of the number of moments.

    This exceeds the cube root that is best for short memory, because films have a longer memory.
    """
    return max(1, round(count**0.5))


def resampled_blocks(
    count: int, length: int, rng: np.random.Generator, draws: tuple[int, ...] = ()
) -> NDArray[np.int64]:
    """Draw indices of moments in blocks of neighbours, dims ``draws, moment``.

    The last moment is followed by the first, as in the circular block bootstrap of Politis & Romano
    1992.
    """
    starts = rng.integers(0, count, (*draws, -(-count // length)))
    indices = (starts[..., None] + np.arange(length)).reshape(*draws, -1)
    return np.asarray(indices[..., :count] % count)


def block_interval(series: Array, length: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the bounds of the block bootstrap's percentile interval of a series' mean.

    Parameters
    ----------
    series
        Dims ``moment``.
    length
        Length of the blocks: moments further apart are taken to be independent.
    rng
        Random generator.
    """
    drawn = series[resampled_blocks(len(series), length, rng, (RESAMPLES,))]
    low, high = np.quantile(drawn.mean(axis=1), [TAIL, 1 - TAIL])
    return float(low), float(high)


def null_interval(value: float, drawn: Array) -> tuple[float, float]:
    """Return the bounds of an interval around a value, as wide as its null distribution.

    If an effect shifts the statistic and leaves its spread unchanged, the interval holds the shifts
    that a test would not reject. For statistics of few moments, which cannot be resampled.

    Parameters
    ----------
    value
        The statistic.
    drawn
        The statistic under the null model, dims ``draw``.
    """
    low, high = np.quantile(drawn - drawn.mean(), [TAIL, 1 - TAIL])
    return float(value - high), float(value - low)


def flipped_means(series: Array, length: int, rng: np.random.Generator, size: int) -> Array:
    """Return means of a series whose blocks have random signs, dims ``draw``.

    If contributions are as often positive as negative, whole blocks at a time, these are as likely
    as the series' own mean. Source: Fisher 1935, "The design of experiments" (randomisation of
    signs), by blocks as in Carlstein 1986.

    Parameters
    ----------
    series
        Dims ``moment``.
    length
        Length of the blocks: moments further apart are taken to be independent.
    rng, size
        Random generator, and number of draws.
    """
    sums = np.add.reduceat(series, np.arange(0, len(series), length))
    signs = rng.choice([-1.0, 1.0], (size, len(sums)))
    return np.asarray(signs @ sums / len(series))
