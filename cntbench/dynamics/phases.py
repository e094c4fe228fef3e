"""Phases: segments of the metric trajectory between change points, or none if it drifts.

The number of change points is the k with the largest advantage A_k over a smooth curve of as many
parameters (`cntbench.dynamics.segments`). There are phases at all if that A_k is positive and at
most 5 % of the surrogates, which have no change points, reach it with their best k. Assumed is
that, but for its change points, each metric is a stationary first-order autoregressive series, a
random walk at the worst, or a curve that a polynomial of degree 2k follows. ``docs/claims.md`` has
the rate of false phases for noise, autocorrelation, random walks, trends and bends.

Intervals of the boundaries are bootstrap percentiles: residuals from the segments' means are drawn
anew in blocks, added to the means, and segmented again with the same k.

A boundary lies between two checkpoints; it is named by the second, the first of the new phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.naming import name_phases
from cntbench.dynamics.resampling import TAIL, block_length
from cntbench.dynamics.segments import Segmentation, means, segment, surrogates
from cntbench.dynamics.trajectory import FEATURES, trajectory

LEVEL = 0.05
#: Fewer checkpoints have no phases to speak of.
NEEDS = 16


@dataclass(frozen=True)
class Phases:
    """The phases of a film.

    Parameters
    ----------
    boundaries
        The first checkpoint of each phase but the first, as its number in the film; none if there
        are no phases.
    lower, upper
        Bounds of the boundaries' intervals.
    names
        Of the phases; one more than boundaries.
    advantage
        A_k of every number of change points, from 1; NaN beyond what the film's length allows.
    p_value
        Of the largest of them; NaN if the film is too short.
    features
        The metric trajectory, dims ``checkpoint, feature``.
    """

    boundaries: NDArray[np.int64]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    names: tuple[str, ...]
    advantage: Array
    p_value: float
    features: Array

    @property
    def count(self) -> int:
        """Number of phases."""
        return len(self.boundaries) + 1


def find_phases(film: Film, rng: np.random.Generator, draws: int) -> Phases:
    """Find the phases of a film.

    Parameters
    ----------
    film
        Its weights.
    rng, draws
        Source of chance; number of surrogates, and of resampled trajectories.
    """
    if len(film) < NEEDS:
        features = trajectory(film) if len(film) else np.empty((0, len(FEATURES)))
        return _none(features, np.empty(0), np.nan)
    features = trajectory(film)
    found = segment(features)
    best = int(found.advantage.argmax())
    p_value = chance(features, found, rng, draws)
    if p_value > LEVEL or found.advantage[best] <= 0:
        return _none(features, found.advantage, p_value)
    changes = found.changes[best]
    lower, upper = _bounds(features, changes, rng, draws)
    return Phases(
        boundaries=np.array(changes, dtype=np.int64),
        lower=lower,
        upper=upper,
        names=name_phases(features, changes),
        advantage=found.advantage,
        p_value=p_value,
        features=features,
    )


def chance(features: Array, found: Segmentation, rng: np.random.Generator, draws: int) -> float:
    """Return the p-value of the largest advantage against surrogates without change points."""
    drawn = np.array([segment(one).advantage.max() for one in surrogates(features, rng, draws)])
    return float((1 + (drawn >= found.advantage.max()).sum()) / (1 + draws))


def _none(features: Array, advantage: Array, p_value: float) -> Phases:
    nowhere = np.empty(0, dtype=np.int64)
    return Phases(nowhere, nowhere, nowhere, ("",), advantage, p_value, features)


def _bounds(
    features: Array, changes: tuple[int, ...], rng: np.random.Generator, draws: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bounds of each boundary's interval."""
    fitted = means(features, changes)
    residual, length, count = features - fitted, block_length(len(features)), len(features)
    moved = np.empty((draws, len(changes)), dtype=np.int64)
    for draw in range(draws):
        starts = rng.integers(0, count, -(-count // length))
        at = (starts[:, None] + np.arange(length)).ravel()[:count] % count
        moved[draw] = segment(fitted + residual[at]).changes[len(changes) - 1]
    low, high = np.quantile(moved, [TAIL, 1 - TAIL], axis=0, method="nearest")
    # The boundary found is one of those that can be drawn.
    here = np.array(changes)
    return np.minimum(low, here), np.maximum(high, here)
