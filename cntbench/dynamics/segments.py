"""Change points of a series, and how much better they explain it than a smooth curve does.

A segmentation into k + 1 segments of constant mean has 2k + 1 parameters per series, if each change
point counts as one. It is compared with the polynomial of as many parameters, degree 2k:

    A_k = (residual of the polynomial − residual of the segments) / variance − 0.02 k,

with sums of squares over all series. A_k > 0 means that k changes describe the course better than a
drift does; a trend or a slow curve has A_k < 0 for every k. The last term requires every change
point to explain 2 % of the variance: a spurious one explains about as much as the curve's
additional degrees, and would be chosen by a narrow margin. The best segmentation for each k comes
from the library ``ruptures`` (dynamic programming, squared-error cost; Truong, Oudre and Vayatis
2020, "Selective review of offline change point detection methods").

Because change points are chosen to fit, A_k > 0 also happens by chance, above all in series that
wander. A is therefore compared with that of surrogates without changes: a stationary first-order
autoregressive process for each series, whose coefficient (corrected for its small-sample bias,
Kendall 1954; at most 1, a random walk) and covariance of innovations are estimated from the series
as if it had no changes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from cntbench.dynamics.film import Array
from cntbench.dynamics.trajectory import standardised
from cntbench.metrics._arithmetic import divide

#: Largest number of change points.
MOST = 4
#: Shortest segment: as a share of the checkpoints, and in checkpoints.
SHARE, FEWEST = 0.05, 5
#: Share of the variance that a change point has to explain.
PRICE = 0.02
#: Steps before a surrogate's first, so that it does not depend on its initial value.
_BURN_IN = 100


@dataclass(frozen=True)
class Segmentation:
    """The best segmentations of a series of features.

    Parameters
    ----------
    changes
        For each number of change points, from 1: first checkpoints of the segments but the first.
    advantage
        A_k for each number of change points, from 1.
    """

    changes: tuple[tuple[int, ...], ...]
    advantage: Array


def shortest(count: int) -> int:
    """Return the length of the shortest segment of ``count`` checkpoints."""
    return max(FEWEST, math.ceil(count * SHARE))


def most(count: int) -> int:
    """Return the largest number of change points among ``count`` checkpoints."""
    return max(0, min(MOST, count // shortest(count) - 1))


def change_points(features: Array) -> tuple[tuple[int, ...], ...]:
    """Return the change points of the best segmentation for each number of them, from 1."""
    import ruptures

    count = most(len(features))
    if not count:
        return ()
    signal = np.ascontiguousarray(features)  # its C code assumes this
    search = ruptures.KernelCPD("linear", min_size=shortest(len(features))).fit(signal)
    search.predict(n_bkps=count)  # also finds those with fewer change points
    return tuple(tuple(search.segmentations_dict[k][:-1]) for k in range(1, count + 1))


def segment(features: Array) -> Segmentation:
    """Find the best segmentations of standardised features, dims ``checkpoint, feature``."""
    changes = change_points(features)
    count = len(changes)
    if not count:
        return Segmentation((), np.empty(0))
    total = float(np.square(features).sum())
    if not total:
        return Segmentation(changes, np.zeros(count))
    curves = _polynomials(features, 2 * count)
    gains = np.array([float(np.square(means(features, at)).sum()) for at in changes])
    price = PRICE * np.arange(1, count + 1)
    return Segmentation(changes, (gains - curves[2::2]) / total - price)


def means(features: Array, changes: tuple[int, ...]) -> Array:
    """Return each checkpoint's mean over its segment, dims ``checkpoint, feature``."""
    bounds = np.array([0, *changes, len(features)])
    lengths = bounds[1:] - bounds[:-1]
    sums = np.add.reduceat(features, bounds[:-1], axis=0)
    return np.repeat(sums / lengths[:, None], lengths, axis=0)


def curve(features: Array, degree: int) -> Array:
    """Return the best-fitting polynomial in the checkpoints' index."""
    basis = _basis(len(features), degree)
    return np.asarray(basis @ (basis.T @ features))


def surrogates(features: Array, rng: np.random.Generator, size: int) -> Array:
    """Return features without change points, dims ``draw, checkpoint, feature``, standardised."""
    earlier, later = features[:-1], features[1:]
    power = np.square(earlier).sum(axis=0)
    varies = power > 0
    raw = divide((earlier * later).sum(axis=0), power, 0.0)
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
    """Return the sums of squares that polynomials explain, by degree, from 0."""
    return np.cumsum(np.square(_basis(len(features), degree).T @ features).sum(axis=1))


@cache
def _basis(count: int, degree: int) -> Array:
    """Return orthonormal polynomials at evenly spaced points, dims ``point, degree``."""
    powers = np.polynomial.legendre.legvander(np.linspace(-1, 1, count), degree)
    return np.asarray(np.linalg.qr(powers)[0])
