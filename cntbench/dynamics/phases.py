"""Phases: segments of the metric trajectory between change points, or one phase if it drifts.

The number of change points is the k with the largest advantage A_k over a smooth curve of as many
parameters (`cntbench.dynamics.segments`). A film has phases if that A_k is positive and at most 5 %
of the surrogates, which have no change points, reach it with their best k. The assumption is that,
apart from change points, each metric is a stationary first-order autoregressive series, at worst a
random walk, or a curve that a polynomial of degree 2k follows. ``docs/claims.md`` gives the rate of
false phases for noise, autocorrelation, random walks, trends and bends.

Intervals of the boundaries are bootstrap percentiles: residuals from the segments' means are
resampled in blocks, added to the means, and segmented again with the same k. A boundary lies
between two checkpoints; it is named by the second, the first of the new phase.

To be named, a phase is compared with the film and with the phase before it, each by the mean of the
standardised metric trajectory over its checkpoints. *Settled* is the mean of three features:
turnover with its sign reversed, and the stability of both orders.

=============  =============================================================================
exploration    unsettled: below −`CLEAR`
refinement     settled: above `CLEAR`; and within the phase neither concentration nor how
               settled the graph is changes by more than half a standard deviation of the film
consolidation  more settled and more concentrated than the phase before, both by `CLEAR`, and
               not yet a refinement
=============  =============================================================================

Names come in the order exploration, consolidation, refinement, each at most once. A phase that fits
no name, or only one that is already used or passed over, has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.resampling import TAIL, block_length, resampled_blocks
from cntbench.dynamics.segments import Segmentation, change_points, means, segment, surrogates
from cntbench.dynamics.trajectory import FEATURES, trajectory

LEVEL = 0.05
#: Films with fewer checkpoints have no phases.
NEEDS = 16

NAMES = ("exploration", "consolidation", "refinement")
#: A difference that counts, in standard deviations of the film.
CLEAR = 0.25
#: Largest change within a refinement, in standard deviations of the film.
_STILL = 0.5

_FEATURE = {name: index for index, name in enumerate(FEATURES)}


@dataclass(frozen=True)
class Phases:
    """The phases of a film.

    Parameters
    ----------
    boundaries
        Index of the first checkpoint of each phase but the first; empty if there is one phase.
    lower, upper
        Bounds of the boundaries' intervals.
    names
        Names of the phases, one more than boundaries.
    advantage
        A_k of every number of change points, from 1; NaN beyond what the film's length allows.
    p_value
        Of the largest advantage; NaN if the film is too short.
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
        Random generator; number of surrogates, and of resampled trajectories.
    """
    features = trajectory(film) if len(film) else np.empty((0, len(FEATURES)))
    if len(film) < NEEDS:
        return _one_phase(features, np.empty(0), np.nan)
    segmentation = segment(features)
    best = int(segmentation.advantage.argmax())
    p_value = chance(features, segmentation, rng, draws)
    if p_value > LEVEL or segmentation.advantage[best] <= 0:
        return _one_phase(features, segmentation.advantage, p_value)
    changes = segmentation.changes[best]
    lower, upper = _bounds(features, changes, rng, draws)
    return Phases(
        boundaries=np.array(changes, dtype=np.int64),
        lower=lower,
        upper=upper,
        names=name_phases(features, changes),
        advantage=segmentation.advantage,
        p_value=p_value,
        features=features,
    )


def chance(
    features: Array, segmentation: Segmentation, rng: np.random.Generator, draws: int
) -> float:
    """Return the p-value of the largest advantage against surrogates without change points."""
    largest = np.array(
        [segment(surrogate).advantage.max() for surrogate in surrogates(features, rng, draws)]
    )
    return float((1 + (largest >= segmentation.advantage.max()).sum()) / (1 + draws))


def settled(features: Array) -> Array:
    """Return how settled the graph is, dims ``checkpoint`` [standard deviations]."""
    return np.asarray(
        (
            features[:, _FEATURE["spreader_stability"]]
            + features[:, _FEATURE["gatherer_stability"]]
            - features[:, _FEATURE["turnover"]]
        )
        / 3
    )


def concentration(features: Array) -> Array:
    """Return the standardised concentration, dims ``checkpoint``."""
    return features[:, _FEATURE["concentration"]]


def name_phases(features: Array, changes: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the phases, ``""`` for those that fit none.

    Parameters
    ----------
    features
        The standardised metric trajectory, dims ``checkpoint, feature``.
    changes
        First checkpoint of each phase but the first.
    """
    calm, focus = (np.split(of(features), changes) for of in (settled, concentration))
    names: list[str] = []
    free = set(NAMES)
    for phase in range(len(calm)):
        name = _fitting_name(calm, focus, phase)
        names.append(name if name in free else "")
        if names[-1]:
            free -= set(NAMES[: NAMES.index(name) + 1])
    return tuple(names)


def _fitting_name(calm: list[Array], focus: list[Array], phase: int) -> str:
    """Return the name that a phase fits; ``calm`` and ``focus`` hold values by phase."""
    mean = calm[phase].mean()
    if mean < -CLEAR:
        return "exploration"
    still = max(_linear_change(of[phase]) for of in (calm, focus)) < _STILL
    if mean > CLEAR and still:
        return "refinement"
    rises = [of[phase].mean() - of[phase - 1].mean() for of in (calm, focus)] if phase else [0]
    return "consolidation" if min(rises) > CLEAR else ""


def _linear_change(values: Array) -> float:
    """Return by how much a straight line through the values rises or falls."""
    if len(values) < 2:
        return 0.0
    slope = np.polynomial.Polynomial.fit(np.arange(len(values)), values, 1).convert().coef[-1]
    return float(abs(slope) * (len(values) - 1))


def _one_phase(features: Array, advantage: Array, p_value: float) -> Phases:
    none = np.empty(0, dtype=np.int64)
    return Phases(none, none, none, ("",), advantage, p_value, features)


def _bounds(
    features: Array, changes: tuple[int, ...], rng: np.random.Generator, draws: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bounds of each boundary's interval."""
    fitted = means(features, changes)
    residual, count = features - fitted, len(features)
    moved = np.empty((draws, len(changes)), dtype=np.int64)
    for draw in range(draws):
        drawn = residual[resampled_blocks(count, block_length(count), rng)]
        moved[draw] = change_points(fitted + drawn)[len(changes) - 1]
    low, high = np.quantile(moved, [TAIL, 1 - TAIL], axis=0, method="nearest")
    # The observed boundary is a possible draw as well.
    observed = np.array(changes)
    return np.minimum(low, observed), np.maximum(high, observed)
