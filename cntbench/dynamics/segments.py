"""Change points of a series, and how much better they explain it than a smooth curve does.

A segmentation into k + 1 segments of constant mean has 2k + 1 parameters per series, the places of
its change points counted as one each. It is held against the polynomial with as many, degree 2k:

    A_k = (residual of the polynomial − residual of the segments) / variance − 0.02 k,

sums of squares over all series. A_k > 0 says that the course is better told as k changes than as a
drift; a trend or a slow curve has A_k < 0 for every k. The last term has every change point explain
2 % of the variance: those that do not exist explain about as much as the curve's further degrees,
and would be chosen by a hair. The best segmentation for each k comes from
the library ``ruptures`` (dynamic programming, squared-error cost; Truong, Oudre and Vayatis 2020,
"Selective review of offline change point detection methods").

Because change points are chosen to fit, A_k > 0 happens by chance too, most of all in series that
wander. So A is held against the same numbers of surrogates that have no changes: a stationary
first-order autoregressive process for each series, coefficient (corrected for its small-sample
bias, Kendall 1954; at most 1, a random walk) and covariance of innovations as estimated from the
series as if they had none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import ruptures

from cntbench.dynamics.film import Array
from cntbench.dynamics.trajectory import standardised

#: Most change points that are looked for.
MOST = 4
#: Shortest segment: this part of the checkpoints, and at least so many.
SHARE, FEWEST = 0.05, 5
#: Part of the variance that a change point has to explain.
PRICE = 0.02
#: Steps before a surrogate's first, so that it does not depend on where it started.
_BURN_IN = 100


@dataclass(frozen=True)
class Segmentation:
    """The best segmentations of a series of features.

    Parameters
    ----------
    changes
        By number of change points less one, the first checkpoints of the segments but the first.
    advantage
        A_k, dims ``change points``, from one change point on.
    """

    changes: tuple[tuple[int, ...], ...]
    advantage: Array


def shortest(count: int) -> int:
    """Return the shortest segment's length among so many checkpoints."""
    return max(FEWEST, math.ceil(count * SHARE))


def most(count: int) -> int:
    """Return how many change points are looked for among so many checkpoints."""
    return max(0, min(MOST, count // shortest(count) - 1))


def segment(features: Array) -> Segmentation:
    """Find the best segmentations of standardised features, dims ``checkpoint, feature``."""
    count = most(len(features))
    if not count:
        return Segmentation((), np.empty(0))
    signal = np.ascontiguousarray(features)  # as its C code takes for granted
    search = ruptures.KernelCPD("linear", min_size=shortest(len(features))).fit(signal)
    search.predict(n_bkps=count)  # finds those with fewer change points on the way
    changes = tuple(tuple(search.segmentations_dict[k][:-1]) for k in range(1, count + 1))
    total = float(np.square(features).sum())
    if not total:
        return Segmentation(changes, np.zeros(count))
    curves = _polynomials(features, 2 * count)
    gains = np.array([float(np.square(means(features, at)).sum()) for at in changes])
    price = PRICE * np.arange(1, count + 1)
    return Segmentation(changes, (gains - curves[2::2]) / total - price)


def means(features: Array, changes: tuple[int, ...]) -> Array:
    """Return each checkpoint's mean over its segment, dims ``checkpoint, feature``."""
    bounds = [0, *changes, len(features)]
    lengths = np.diff(bounds)
    sums = np.add.reduceat(features, bounds[:-1], axis=0)
    return np.repeat(sums / lengths[:, None], lengths, axis=0)


def curve(features: Array, degree: int) -> Array:
    """Return the polynomial of a degree in the checkpoints' number that fits best."""
    basis = _basis(len(features), degree)
    return np.asarray(basis @ (basis.T @ features))


def surrogates(features: Array, rng: np.random.Generator, size: int) -> Array:
    """Return features without change points, dims ``draw, checkpoint, feature``, standardised."""
    earlier, later = features[:-1], features[1:]
    power = np.square(earlier).sum(axis=0)
    varies = power > 0
    raw = np.divide((earlier * later).sum(axis=0), power, out=np.zeros_like(power), where=varies)
    coefficient = np.clip(raw + (1 + 3 * raw) / len(features), 0, 1)
    innovations = later - coefficient * earlier
    covariance = np.atleast_2d(np.cov(innovations.T))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    noise = rng.standard_normal((len(features) + _BURN_IN, size, features.shape[1])) @ root.T
    for at in range(1, len(noise)):
        noise[at] += coefficient * noise[at - 1]
    noise[..., ~varies] = 0
    return standardised(np.moveaxis(noise[_BURN_IN:], 0, 1))


def _polynomials(features: Array, degree: int) -> Array:
    """Return the sum of squares that polynomials explain, dims ``degree``, from 0."""
    return np.cumsum(np.square(_basis(len(features), degree).T @ features).sum(axis=1))


@cache
def _basis(count: int, degree: int) -> Array:
    """Return orthonormal polynomials at evenly spaced places, dims ``place, degree``."""
    powers = np.polynomial.legendre.legvander(np.linspace(-1, 1, count), degree)
    return np.asarray(np.linalg.qr(powers)[0])
