"""Levels with transitions between them, and how much better they explain a series than a drift.

A course with k transitions is constant before, between and after them, and moves from each level to
the next in a straight line that takes between 0 and `WIDEST` of the checkpoints. All series share
the transitions. The alternative is a smooth curve: a polynomial of degree 2k in time, or in time
that speeds up or slows down (`_RATES`), so that relaxations are smooth curves too. Their residual
sums of squares R are compared by the logarithm of the likelihood ratio under normal noise, whose
variance each series has for itself [nat per value]:

    A_k = mean over series of ½ log(R of the curve / R of the levels) − 0.02 k.

If A_k > 0, k transitions describe the course better than a drift; a trend or a slow curve has
A_k < 0 for every k. The ratio measures how much of the curve's residual the levels explain, so a
wide transition in little noise counts as much as a jump in much noise. The last term is the price
of a transition: a spurious transition explains about as much as the curve's additional degrees and
would otherwise be chosen by a narrow margin. The number of transitions is the k with the largest
A_k − 0.04 k, because autocorrelated noise always has room for one more.

The search starts from the best jumps, found by the library ``ruptures`` (dynamic programming,
squared-error cost; Truong, Oudre and Vayatis 2020, "Selective review of offline change point
detection methods"), and from the best k − 1 transitions plus one. It moves the ends of each
transition in turn to where they explain most, until none moves. A level has at least `SHARE` of the
checkpoints. Series are divided by the residual of the most flexible curve, so series with little
noise determine the transitions.

Transitions are chosen to fit, so A_k > 0 also happens by chance, especially in series that wander.
A is therefore compared with that of surrogates without transitions: a stationary first-order
autoregressive process for each series. Its coefficient (corrected for its small-sample bias,
Kendall 1954; at most 1, a random walk) and the covariance of its innovations are estimated from the
series as if it had no transitions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array
from cntbench.dynamics.trajectory import standardised
from cntbench.metrics._base import divide

#: Largest number of transitions.
MOST = 4
#: Shortest level: as a share of the checkpoints, and in checkpoints.
SHARE, FEWEST = 0.05, 5
#: Longest transition, as a share of the checkpoints.
WIDEST = 0.16
#: Price of a transition [nat per value].
PRICE = 0.02
#: Smallest increase of A that justifies a further transition [nat per value].
FURTHER = 0.04
#: Rates at which the curve's time may slow down (positive) or speed up [1 / film].
_RATES = (0, 5, -5, 10, -10, 20, -20)
#: Number of lengths of transitions that are tried, besides 0.
_LENGTHS = 6
#: Largest number of rounds in which every transition moves.
_ROUNDS = 3
#: Lower bound of the noise, in standard deviations.
_QUIETEST = 0.05
#: Lower bound of the residuals, as a share of the variance.
_LEAST = 1e-6
#: Steps that are discarded before a surrogate begins, so its initial value does not matter.
_BURN_IN = 100

#: Transitions: the first checkpoint after a level, and the first on the next level.
Transitions = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Segmentation:
    """The best transitions of a series of features.

    Parameters
    ----------
    transitions
        For each number of transitions, from 1.
    advantage
        A_k for each number of transitions, from 1 [nat per value].
    """

    transitions: tuple[Transitions, ...]
    advantage: Array

    @property
    def number(self) -> int:
        """Number of transitions that describe the series best, at least 1."""
        return int(scores(self.advantage).argmax()) + 1


@dataclass(frozen=True)
class _Candidates:
    """Transitions that the search tries in series of one length.

    Parameters
    ----------
    ends
        First checkpoint after a level and first on the next level, dims ``candidate, end``.
    courses
        Courses from 0 to 1, minus their means, dims ``checkpoint, candidate``.
    products
        Scalar products of the courses, dims ``candidate, candidate``.
    jumps
        Index of the candidate of length 0 at each checkpoint, −1 where there is none.
    """

    ends: NDArray[np.int64]
    courses: Array
    products: Array
    jumps: NDArray[np.int64]


def scores(advantage: Array) -> Array:
    """Return A_k − 0.04 k of advantages, dims ``…, transitions``."""
    return np.asarray(advantage - FURTHER * np.arange(1, advantage.shape[-1] + 1))


def shortest(count: int) -> int:
    """Return the length of the shortest level of ``count`` checkpoints."""
    return max(FEWEST, math.ceil(count * SHARE))


def most(count: int) -> int:
    """Return the largest number of transitions among ``count`` checkpoints."""
    return max(0, min(MOST, count // shortest(count) - 1))


def boundaries(transitions: Transitions) -> tuple[int, ...]:
    """Return the checkpoint in the middle of each transition, where a phase begins."""
    return tuple((left + reached + 1) // 2 for left, reached in transitions)


def segment(features: Array) -> Segmentation:
    """Find the best transitions in standardised features, dims ``checkpoint, feature``."""
    places, advantage = _search(features[None])
    ends = _candidates(len(features)).ends if len(places) else np.empty((0, 2), np.int64)
    chosen = (tuple((int(a), int(b)) for a, b in ends[at[0]]) for at in places)
    return Segmentation(tuple(chosen), advantage[0])


def advantages(features: Array) -> Array:
    """Return A_k of many standardised series, dims ``draw, checkpoint, feature``.

    The result has dims ``draw, transitions``.
    """
    return _search(features)[1]


def best_transitions(features: Array, count: int) -> NDArray[np.int64]:
    """Return the best ``count`` transitions of many series, dims ``draw, transition, end``.

    Takes standardised features, dims ``draw, checkpoint, feature``.
    """
    *_, (chosen, _) = _fits(_over_noise(features), count)
    return _candidates(features.shape[1]).ends[chosen]


def levels(features: Array, transitions: Transitions) -> Array:
    """Return the levels and transitions that fit best, dims ``checkpoint, feature``."""
    basis = np.column_stack(
        [np.ones(len(features)), *(_course(len(features), *t) for t in transitions)]
    )
    return np.asarray(basis @ np.linalg.lstsq(basis, features, rcond=None)[0])


def curve(features: Array, degree: int) -> Array:
    """Return the smooth curve of a degree that fits best, dims ``checkpoint, feature``."""
    bases = _smooth_bases(len(features), degree)
    weights = np.matmul(bases.transpose(0, 2, 1), _over_noise(features[None])[0])
    best = bases[int(np.square(weights).sum(axis=(1, 2)).argmax())]
    return np.asarray(best @ (best.T @ features))


def surrogates(features: Array, rng: np.random.Generator, size: int) -> Array:
    """Return features without transitions, dims ``draw, checkpoint, feature``, standardised."""
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


def _search(features: Array) -> tuple[list[NDArray[np.int64]], Array]:
    """Return the best candidates for each number of transitions, and A_k of every draw."""
    count = most(features.shape[1])
    if not count:
        return [], np.empty((len(features), 0))
    features = _over_noise(features)
    total = np.square(features).sum(axis=1)  # draw, feature
    varies = total > 0
    smooth = _smooth_gains(features, 2 * count)
    places, advantage = [], np.zeros((len(features), count))
    least = np.where(varies, _LEAST * total, 1)
    for k, (chosen, gain) in enumerate(_fits(features, count), 1):
        places.append(chosen)
        residuals = (np.maximum(total - gains, 0) + least for gains in (smooth[:, 2 * k], gain))
        curves, steps = residuals
        ratios = (np.log(curves / steps) / 2).sum(axis=1, where=varies)
        advantage[:, k - 1] = divide(ratios, varies.sum(axis=1), PRICE * k) - PRICE * k
    return places, advantage


def _over_noise(features: Array) -> Array:
    """Return standardised features, dims ``draw, checkpoint, feature``, divided by their noise."""
    size = features.shape[1]
    explained = _smooth_gains(features, 2 * most(size))[:, -1]
    noise = np.sqrt(np.maximum(1 - explained / size, 0))
    return np.asarray(features / np.maximum(noise, _QUIETEST)[:, None])


def _jumps(features: Array, count: int) -> tuple[tuple[int, ...], ...]:
    """Return the best jumps for each number of them, from 1."""
    import ruptures

    signal = np.ascontiguousarray(features)  # its C code assumes this
    search = ruptures.KernelCPD("linear", min_size=shortest(len(features))).fit(signal)
    search.predict(n_bkps=count)  # also finds those with fewer change points
    return tuple(tuple(search.segmentations_dict[k][:-1]) for k in range(1, count + 1))


def _fits(features: Array, count: int) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Yield the best transitions for each number of them, from 1, and what they explain.

    Takes features, dims ``draw, checkpoint, feature``, with mean 0. Yields indices of candidates,
    dims ``draw, transition``, and the sums of squares that they explain, dims ``draw, feature``.
    """
    size = features.shape[1]
    candidates = _candidates(size)
    fits = features.transpose(0, 2, 1) @ candidates.courses  # draw, feature, candidate
    squares = np.square(fits).sum(axis=1)
    jumps = [_jumps(series, count) for series in features]
    fewer = np.empty((len(features), 0), np.int64)
    for k in range(1, count + 1):
        start = candidates.jumps[[at[k - 1] for at in jumps]]
        chosen = _moved(candidates, fits, squares, start)
        gain = _explained(candidates, fits, chosen)
        if k > 1:
            apart = _apart(candidates, fewer, size)
            gains = _gains(candidates, fits, squares, fewer)
            added = np.where(apart, gains, -np.inf).argmax(axis=1)
            room = np.asarray(apart.any(axis=1))
            more = np.where(room[:, None], np.column_stack([fewer, added]), chosen)
            order = np.argsort(candidates.ends[more, 0], axis=1, kind="stable")
            more = _moved(candidates, fits, squares, np.take_along_axis(more, order, axis=1))
            other = _explained(candidates, fits, more)
            better = other.sum(axis=1) > gain.sum(axis=1)
            chosen = np.where(better[:, None], more, chosen)
            gain = np.where(better[:, None], other, gain)
        yield chosen, gain
        fewer = chosen


def _moved(
    candidates: _Candidates, fits: Array, squares: Array, chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Move transitions, dims ``draw, transition``, to where they explain most, in their order."""
    chosen = chosen.copy()
    size = len(candidates.courses)
    least, (first, last) = shortest(size), candidates.ends.T
    moving, moves = np.arange(len(chosen)), np.ones(len(chosen), dtype=bool)
    for _ in range(_ROUNDS if chosen.shape[1] > 1 else 1):
        if not moves.all():
            moving, fits, squares = moving[moves], fits[moves], squares[moves]
        now = chosen[moving]
        for number in range(chosen.shape[1]):
            left = last[now[:, number - 1 : number]].max(1, initial=0)
            right = first[now[:, number + 1 : number + 2]].min(1, initial=size)
            allowed = (first >= left[:, None] + least) & (last <= right[:, None] - least)
            gains = _gains(candidates, fits, squares, np.delete(now, number, axis=1))
            now[:, number] = np.where(allowed, gains, -np.inf).argmax(axis=1)
        moves = (now != chosen[moving]).any(axis=1)
        chosen[moving] = now
        if not moves.any():
            break
    return chosen


def _apart(candidates: _Candidates, others: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Return which candidates leave levels between them and others, dims ``draw, candidate``."""
    ends, other_ends = candidates.ends, candidates.ends[others]  # draw, other, end
    least = shortest(size)
    free = np.ones((len(others), len(ends)), dtype=bool)
    for other in range(others.shape[1]):
        before = ends[:, 1] + least <= other_ends[:, other, :1]
        after = ends[:, 0] - least >= other_ends[:, other, 1:]
        free &= before | after
    return free


def _gains(
    candidates: _Candidates, fits: Array, squares: Array, others: NDArray[np.int64]
) -> Array:
    """Return the sum of squares that each candidate adds to others, dims ``draw, candidate``.

    ``squares`` are those of the fits, summed over features.
    """
    length = np.diagonal(candidates.products)
    if not others.shape[1]:
        return np.asarray(squares / length)
    shared = candidates.products[others]  # draw, other, candidate
    weights = np.linalg.inv(_among(candidates, others)) @ shared
    other_fits = _fits_of(fits, others)
    # The square of (fits − weights · other fits), multiplied out: without an array as large as fits
    added = 2 * (other_fits @ fits) - other_fits @ other_fits.transpose(0, 2, 1) @ weights
    free = length - (shared * weights).sum(axis=1)
    return np.asarray((squares - (added * weights).sum(axis=1)) / np.maximum(free, 1e-9))


def _fits_of(fits: Array, chosen: NDArray[np.int64]) -> Array:
    """Return the fits of chosen candidates, dims ``draw, transition, feature``."""
    return np.asarray(fits[np.arange(len(fits))[:, None], :, chosen])


def _explained(candidates: _Candidates, fits: Array, chosen: NDArray[np.int64]) -> Array:
    """Return the sums of squares that transitions explain together, dims ``draw, feature``."""
    chosen_fits = _fits_of(fits, chosen)
    weights = np.linalg.solve(_among(candidates, chosen), chosen_fits)
    return np.asarray((chosen_fits * weights).sum(axis=1))


def _among(candidates: _Candidates, chosen: NDArray[np.int64]) -> Array:
    """Return scalar products among chosen candidates, dims ``draw, transition, transition``."""
    return np.asarray(candidates.products[chosen[:, :, None], chosen[:, None, :]])


@cache
def _candidates(count: int) -> _Candidates:
    """Return the transitions that fit ``count`` checkpoints."""
    apart = shortest(count)
    tried = np.geomspace(2, max(2, WIDEST * count), _LENGTHS).round().astype(int)
    ends = np.array(
        [
            (left, left + length)
            for length in sorted({0, *tried.tolist()})
            for left in range(apart, count - apart - length + 1)
        ]
    )
    courses = np.column_stack([_course(count, left, reached) for left, reached in ends])
    courses -= courses.mean(axis=0)
    jumps = np.full(count + 1, -1)
    sudden = ends[:, 0] == ends[:, 1]
    jumps[ends[sudden, 0]] = np.flatnonzero(sudden)
    return _Candidates(ends, courses, courses.T @ courses, jumps)


def _course(count: int, left: int, reached: int) -> Array:
    """Return a transition's course from 0 to 1, dims ``checkpoint``."""
    return np.clip((np.arange(count) - (left - 1)) / (reached - left + 1), 0, 1)


def _smooth_gains(features: Array, degree: int) -> Array:
    """Return the sums of squares that smooth curves explain, dims ``draw, degree, feature``.

    Degrees start at 0. All series share the rate that explains them best together.
    """
    bases = _smooth_bases(features.shape[1], degree)
    weights = np.einsum("rcd,ncf->nrdf", bases, features, optimize=True)
    explained = np.square(weights).cumsum(axis=2)
    best = explained.sum(axis=3).argmax(axis=1)  # draw, degree
    return np.take_along_axis(explained, best[:, None, :, None], axis=1)[:, 0]


@cache
def _smooth_bases(count: int, degree: int) -> Array:
    """Return orthonormal polynomials in time at each rate, dims ``rate, checkpoint, degree``."""
    time = np.linspace(0, 1, count)
    warped = [np.expm1(-rate * time) / np.expm1(-rate) if rate else time for rate in _RATES]
    powers = [np.polynomial.legendre.legvander(2 * place - 1, degree) for place in warped]
    return np.array([np.linalg.qr(power)[0] for power in powers])
