"""Resampling of what single moments contribute, moments that resemble their neighbours."""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array

CONFIDENCE = 0.95
RESAMPLES = 1000


def block_length(count: int) -> int:
    """Return the length of blocks of neighbours: the square root of the number of moments.

    Longer than the cube root that is best for short memory, because films have a longer one.
    """
    return max(1, round(count**0.5))


def block_means(series: Array, rng: np.random.Generator, size: int = RESAMPLES) -> Array:
    """Return means over moments drawn anew in blocks of neighbours, dims ``draw``.

    The circular block bootstrap of Politis & Romano 1992, the last moment followed by the first.
    """
    count = len(series)
    length = block_length(count)
    starts = rng.integers(0, count, (size, -(-count // length)))
    drawn = (starts[:, :, None] + np.arange(length)).reshape(size, -1)[:, :count] % count
    return np.asarray(series[drawn].mean(axis=1))


def interval(series: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return the bounds of the bootstrap interval of a series' mean.

    Percentiles of `block_means`; the mean itself twice for a constant series.
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(block_means(series, rng), [tail, 1 - tail])
    return float(low), float(high)


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
