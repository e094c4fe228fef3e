"""The checkpoints at which roles reconfigure: ranks change more than measurement noise makes them.

At each checkpoint, the hierarchy over the last few checkpoints before it is held against that over
the first few from it on, each by the mean of weights: the change is the share of pairs of
components whose order turns round. The null model is ``frozen``, for the film of these two moments:
one graph before and after, each time measured with noise at the mean of the standard errors, as if
before and after had been measured on prompts of their own. Averaging does not make the noise less,
since checkpoints are measured on the same prompts; that both sides are would make it less, but by
how much a result does not tell (``docs/nulls.md`` has what the bootstrap over prompts finds).

Because many checkpoints are looked at, p-values are those of the largest standardised change
anywhere in the film (Westfall & Young 1993, "Resampling-based multiple testing", single-step maxT):
the chance that a model which never changes shows such a change at one checkpoint or more.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.nulls import frozen
from cntbench.dynamics.nulls._draws import batches
from cntbench.dynamics.roles import ROLES, Role, comparable, strength

#: Checkpoints on either side, or as many as there are.
WINDOW = 4
#: Largest p-value at which roles are said to reconfigure.
LEVEL = 0.05


@dataclass(frozen=True)
class Reconfiguration:
    """How a hierarchy changes over training, dims ``checkpoint``; NaN at the first one.

    Parameters
    ----------
    change
        Share of pairs whose order turns round.
    noise, noise_deviation
        Mean and standard deviation of the change under the null model.
    p_value
        Corrected for the number of checkpoints.
    reconfigures
        1 where a run of checkpoints with p-values of at most `LEVEL` has its largest standardised
        change, else 0.
    """

    change: Array
    noise: Array
    noise_deviation: Array
    p_value: Array
    reconfigures: Array


def reconfigurations(
    film: Film, rng: np.random.Generator, draws: int
) -> dict[Role, Reconfiguration]:
    """Hold both hierarchies' changes against those of a frozen film.

    Parameters
    ----------
    film
        Its weights and errors; undefined errors leave nothing but ``change``.
    rng, draws
        Source of chance, and number of draws of the null model; none leave nothing but ``change``.
    """
    # The film before the draws: if it is frozen, it is one of them.
    changes = np.full((len(ROLES), 1 + draws, len(film)), np.nan)
    for at in range(1, len(film)):
        moments = _before_and_after(film, at)
        changes[:, 0, at] = _changes(moments.weights, film)
        for some in batches(moments, draws):
            drawn = frozen.draw(moments, rng, some.stop - some.start)
            changes[:, 1:][:, some, at] = _changes(drawn, film)
    return {
        role: _judged(changes[i], strength(film.weights, film.layer, role))
        for i, role in enumerate(ROLES)
    }


def turned_round(before: Array, after: Array) -> Array:
    """Return the share of pairs of components whose order is another, dims ``…``.

    Ties are no order. NaN with fewer than two components that have the role in both.

    Parameters
    ----------
    before, after
        Layer-corrected strengths, dims ``…, component``.
    """
    before, after = comparable(before), comparable(after)
    turned = (before[..., :, None] < before[..., None, :]) & (
        after[..., :, None] > after[..., None, :]
    )
    count = (~np.isnan(before) & ~np.isnan(after)).sum(axis=-1)
    pairs = count * (count - 1) / 2
    found = np.full(pairs.shape, np.nan)
    return np.divide(turned.sum(axis=(-2, -1)), pairs, out=found, where=pairs > 0)


def _before_and_after(film: Film, at: int) -> Film:
    """Return the film of two moments: means over the windows on either side of a checkpoint."""
    sides = slice(max(0, at - WINDOW), at), slice(at, at + WINDOW)
    return dataclasses.replace(
        film.take(np.array([at - 1, at])),
        weights=np.stack([film.weights[side].mean(axis=0) for side in sides]),
        errors=np.stack([film.errors[side].mean(axis=0) for side in sides]),
    )


def _changes(weights: Array, film: Film) -> Array:
    """Compare two moments, dims ``…, moment, source, target`` → ``role, …``."""
    strengths = [strength(weights, film.layer, role) for role in ROLES]
    return np.stack([turned_round(both[..., 0, :], both[..., 1, :]) for both in strengths])


def _judged(changes: Array, strengths: Array) -> Reconfiguration:
    """Hold changes, dims ``film and draws, checkpoint``, against each other."""
    if len(changes) == 1:
        nothing = np.full(changes.shape[1], np.nan)
        return Reconfiguration(changes[0], nothing, nothing, nothing, nothing)
    noise, deviation = changes.mean(axis=0), changes.std(axis=0)
    roles = int((~np.isnan(strengths)).sum(axis=-1).max(initial=0))
    one_pair = 2 / max(roles * (roles - 1), 1)
    standardised = (changes - noise) / np.maximum(deviation, one_pair)
    p_value = _largest_anywhere(standardised)
    peaks = _peaks(standardised[0], p_value <= LEVEL)
    return Reconfiguration(changes[0], noise, deviation, p_value, peaks)


def _largest_anywhere(standardised: Array) -> Array:
    """Return the share of rows, the first is the film's, that reach its values anywhere."""
    found = np.full(standardised.shape[1], np.nan)
    defined = ~np.isnan(standardised).any(axis=0)
    if defined.any():
        largest = standardised[:, defined].max(axis=1)
        largest[0] = np.inf  # the film reaches its own values
        found[defined] = (largest[:, None] >= standardised[0, defined]).mean(axis=0)
    return found


def _peaks(values: Array, chosen: NDArray[np.bool_]) -> Array:
    """Mark the largest value of every run of chosen checkpoints, the first one of equals."""
    found = np.where(np.isnan(values), np.nan, 0.0)
    at = np.flatnonzero(chosen)
    for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
        if len(run):
            found[run[values[run].argmax()]] = 1
    return found
