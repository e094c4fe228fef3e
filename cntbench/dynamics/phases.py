"""Phases: levels of the metric trajectory between transitions, or one phase if it drifts.

`cntbench.dynamics.segments` finds the transitions and their advantage A_k over a smooth curve;
transitions may be sudden or take up to 16 % of the film. A film has phases if A_k is positive and
at most 5 % of surrogates without transitions reach its score with their best k. This assumes that,
apart from transitions, each metric is a stationary first-order autoregressive series, at worst a
random walk, or a smooth curve. ``docs/calibration.md`` gives the rate of false phases for noise,
autocorrelation, random walks, trends and bends.

A boundary is the checkpoint in the middle of a transition; for a sudden transition, it is the first
checkpoint of the new phase. Its interval contains the whole transition and the bootstrap
percentiles of its ends: residuals from the levels are resampled in blocks, added to the levels, and
segmented again with the same k.

To name a phase, the mean of the standardised metric trajectory over its checkpoints is compared
with the film's mean and with that of the phase before. *Settled* is the mean of three features:
turnover with its sign reversed, and the stability of both orders.

=============  =============================================================================
exploration    unsettled: below −`CLEAR`
refinement     settled: above `CLEAR`; and within the phase neither concentration nor how
               settled the graph is changes by more than half a standard deviation of the film
consolidation  more settled and more concentrated than the phase before, both by `CLEAR`, and
               not yet a refinement
=============  =============================================================================

Names come in the order exploration, consolidation, refinement, each at most once. A phase has no
name if it fits none, or only one that has been used or skipped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics import segments
from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.resampling import TAIL, block_length, resampled_blocks
from cntbench.dynamics.trajectory import FEATURES, standardised, trajectory

LEVEL = 0.05
#: Smallest number of checkpoints of a film with phases.
NEEDS = 16

NAMES = ("exploration", "consolidation", "refinement")
#: Smallest difference that counts, in standard deviations of the film.
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
        Index of the first checkpoint of each phase after the first; empty if there is one phase.
    lower, upper
        Bounds of the boundaries' intervals, at least as wide as the transitions.
    names
        Names of the phases, one more than boundaries.
    advantage
        A_k for each number of transitions from 1 [nat per value]; NaN where the film is too short.
    p_value
        p-value of the largest advantage; NaN if the film is too short.
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

    ``draws`` is the number of surrogates, and of resampled trajectories.
    """
    features = trajectory(film) if len(film) else np.empty((0, len(FEATURES)))
    if len(film) < NEEDS:
        return _one_phase(features, np.empty(0), np.nan)
    segmentation = segments.segment(features)
    best = segmentation.number - 1
    p_value = chance(features, segmentation, rng, draws)
    if p_value > LEVEL or segmentation.advantage[best] <= 0:
        return _one_phase(features, segmentation.advantage, p_value)
    transitions = segmentation.transitions[best]
    changes = segments.boundaries(transitions)
    lower, upper = _bounds(features, transitions, rng, draws)
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
    features: Array, segmentation: segments.Segmentation, rng: np.random.Generator, draws: int
) -> float:
    """Return the p-value of the largest score against surrogates without transitions."""
    drawn = segments.surrogates(features, rng, draws)
    largest = segments.scores(segments.advantages(drawn)).max(axis=1)
    reached = largest >= segments.scores(segmentation.advantage).max()
    return float((1 + reached.sum()) / (1 + draws))


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

    ``changes`` are the first checkpoints of the phases after the first.
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
    """Return the absolute change of a straight line fitted to the values of a phase."""
    line = np.polynomial.Polynomial.fit(np.arange(len(values)), values, 1)
    return float(2 * abs(line.coef[1]))  # over the phase, mapped to −1 … 1


def _one_phase(features: Array, advantage: Array, p_value: float) -> Phases:
    none = np.empty(0, dtype=np.int64)
    return Phases(none, none, none, ("",), advantage, p_value, features)


def _bounds(
    features: Array, transitions: segments.Transitions, rng: np.random.Generator, draws: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bounds of each boundary's interval."""
    fitted = segments.levels(features, transitions)
    residual, count = features - fitted, len(features)
    drawn = residual[resampled_blocks(count, block_length(count), rng, draws)]
    moved = segments.best_transitions(standardised(fitted + drawn), len(transitions))
    low, high = np.quantile(moved, [TAIL, 1 - TAIL], axis=0, method="nearest")
    observed = np.array(transitions)
    return np.minimum(low, observed)[:, 0], np.minimum(np.maximum(high, observed)[:, 1], count - 1)
