"""Means of autocorrelated series: resampling and intervals."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array

CONFIDENCE = 0.95
#: Values of a series from which on the interval of their mean is reported.
FEWEST = 20
#: Probability beyond either bound of an interval.
TAIL = (1 - CONFIDENCE) / 2
#: Cosines that estimate the variance of a mean, and draws of their distribution.
_COSINES, _DRAWS = 4, 20_000
#: The lag-one correlation is corrected by this multiple of its bias.
_CAUTION = 2.5
#: Largest lag-one correlation that is assumed.
_MOST_CORRELATED = 0.99


def block_length(count: int) -> int:
    """Return the length of blocks of neighbours: the square root of the number of moments.

    The cube root would be best for short memory, but films have a longer memory.
    """
    return max(1, round(count**0.5))


def resampled_blocks(
    count: int, length: int, rng: np.random.Generator, draws: int
) -> NDArray[np.int64]:
    """Draw indices of moments in blocks of neighbours, dims ``draw, moment``.

    The first moment follows the last, as in the circular block bootstrap of Politis & Romano 1992.
    """
    starts = rng.integers(0, count, (draws, -(-count // length)))
    indices = (starts[..., None] + np.arange(length)).reshape(draws, -1)
    return np.asarray(indices[:, :count] % count)


def mean_interval(series: Array) -> tuple[float, float]:
    """Return the bounds of the interval of the mean of an autocorrelated series.

    The standard error comes from the amplitudes of the slowest `_COSINES` cosines in the series
    (Müller 2007, "A theory of robust long-run variance estimation"; Lazarus, Lewis, Stock and
    Watson 2018, "HAR inference"). The ratio of mean to standard error is compared with its
    distribution under a first-order autoregression with the lag-one correlation of the series,
    corrected by `_CAUTION` times its bias (Kendall 1954). The correction is larger than the average
    bias because underestimating the correlation is worse than overestimating it.
    ``docs/calibration.md`` gives the coverage.

    Parameters
    ----------
    series
        Dims ``moment``; at least 2.
    """
    count, mean = len(series), float(series.mean())
    centred = series - mean
    power = float(np.square(centred[:-1]).sum())
    if not power:
        return mean, mean
    raw = float(centred[1:] @ centred[:-1]) / power
    correlation = min(max(raw + _CAUTION * (1 + 3 * raw) / count, 0.0), _MOST_CORRELATED)
    amplitudes = centred @ _weights(count)[1:].T * np.sqrt(count)
    error = float(np.sqrt(np.square(amplitudes).mean() / count))
    half = _critical(count, round(correlation, 2)) * error
    return mean - half, mean + half


@cache
def _weights(count: int) -> Array:
    """Return the weights of moments in the mean and in each cosine, dims ``row, moment``."""
    orders = np.arange(1, min(_COSINES, count - 1) + 1)[:, None]
    cosines = np.sqrt(2) * np.cos(np.pi * orders * (np.arange(count) + 0.5) / count)
    return np.concatenate([np.ones((1, count)), cosines]) / count


@cache
def _critical(count: int, correlation: float) -> float:
    """Return the 95 % quantile of the ratio of mean to standard error under autoregressions."""
    lag = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    weights = _weights(count)
    covariance = weights @ correlation**lag @ weights.T
    drawn = _normal(len(weights)) @ np.linalg.cholesky(covariance).T
    ratio = np.abs(drawn[:, 0]) / np.sqrt(np.square(drawn[:, 1:]).mean(axis=1))
    return float(np.quantile(ratio, CONFIDENCE))


@cache
def _normal(rows: int) -> Array:
    """Return the standard normal draws that all quantiles share, dims ``draw, row``."""
    return np.random.default_rng(0).standard_normal((_DRAWS, rows))


def null_interval(value: float, drawn: Array) -> tuple[float, float]:
    """Return the bounds of an interval around a value, as wide as its null distribution.

    If an effect shifts the statistic without changing its spread, the interval contains the shifts
    that a test would not reject. It serves statistics of few moments, which cannot be resampled.
    """
    low, high = np.quantile(drawn - drawn.mean(), [TAIL, 1 - TAIL])
    return float(value - high), float(value - low)


def flipped_means(series: Array, length: int, rng: np.random.Generator, size: int) -> Array:
    """Return means of a series after random sign changes of its blocks, dims ``draw``.

    If every block is equally likely to be positive or negative, these means are as likely as the
    series' own mean. Source: Fisher 1935, "The design of experiments" (randomisation of signs), by
    blocks as in Carlstein 1986.

    Parameters
    ----------
    length
        Length of the blocks. Moments further apart are assumed to be independent.
    """
    sums = np.add.reduceat(series, np.arange(0, len(series), length))
    signs = rng.choice([-1.0, 1.0], (size, len(sums)))
    return np.asarray(signs @ sums / len(series))
