"""Resampling of what single moments contribute, moments that resemble their neighbours."""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array

CONFIDENCE = 0.95
#: Probability beyond either bound of an interval.
TAIL = (1 - CONFIDENCE) / 2
RESAMPLES = 1000


def block_length(count: int) -> int:
    """Return the length of blocks of neighbours: the square root of the number of moments.

    Longer than the cube root that is best for short memory, because films have a longer one.
    """
    return max(1, round(count**0.5))


def block_interval(series: Array, length: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the bounds of the bootstrap interval of a series' mean.

    The circular block bootstrap of Politis & Romano 1992: moments drawn anew in blocks of
    neighbours, the last moment followed by the first; the bounds are percentiles of the means.

    Parameters
    ----------
    series
        Dims ``moment``.
    length
        Of the blocks: moments further apart are taken to be independent.
    rng
        Source of chance.
    """
    count = len(series)
    starts = rng.integers(0, count, (RESAMPLES, -(-count // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(RESAMPLES, -1)[:, :count] % count
    low, high = np.quantile(series[drawn].mean(axis=1), [TAIL, 1 - TAIL])
    return float(low), float(high)


def null_interval(value: float, drawn: Array) -> tuple[float, float]:
    """Return the bounds of an interval around a value, as wide as its null distribution.

    If an effect shifts the statistic and leaves its spread, the shifts that a test would not reject
    are those in the interval. For statistics of few moments, which cannot be drawn anew.

    Parameters
    ----------
    value
        The statistic.
    drawn
        Draws of it under the null model, dims ``draw``.
    """
    low, high = np.quantile(drawn - drawn.mean(), [TAIL, 1 - TAIL])
    return float(value - high), float(value - low)


def flipped_means(series: Array, length: int, rng: np.random.Generator, size: int) -> Array:
    """Return means of a series whose blocks have random signs, dims ``draw``.

    Under the hypothesis that contributions are as often positive as negative, whole blocks at a
    time, these are as likely as the series' own mean. Source: Fisher 1935, "The design of
    experiments" (randomisation of signs), by blocks as in Carlstein 1986.

    Parameters
    ----------
    series
        Dims ``moment``.
    length
        Of the blocks: moments further apart are taken to be independent.
    rng, size
        Source of chance, and number of draws.
    """
    sums = np.add.reduceat(series, np.arange(0, len(series), length))
    signs = rng.choice([-1.0, 1.0], (size, len(sums)))
    return np.asarray(signs @ sums / len(series))
