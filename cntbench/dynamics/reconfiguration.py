"""Find the checkpoints at which ranks change more than measurement noise explains.

At each checkpoint, the hierarchy of the mean graph over the preceding checkpoints is compared with
that of the mean graph over the checkpoints from it on. The change is the share of pairs of
components whose order reverses. The null model is ``frozen`` for these two moments: one graph,
measured twice with noise at the mean of the standard errors, as if on different prompts. Averaging
does not reduce the noise, because checkpoints are measured on the same prompts. Sharing prompts
between both sides does reduce it, but a result does not record by how much (``docs/nulls.md``
reports the bootstrap over prompts).

Every checkpoint is tested, so p-values refer to the largest standardised change anywhere in the
film (Westfall & Young 1993, "Resampling-based multiple testing", single-step maxT): the probability
that a model which never changes shows such a change at one or more checkpoints.
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
from cntbench.metrics._base import divide

#: Number of checkpoints on each side; fewer at the ends of the film.
WINDOW = 4
#: Largest p-value at which roles reconfigure.
LEVEL = 0.05


@dataclass(frozen=True)
class Reconfiguration:
    """How a hierarchy changes over training, dims ``checkpoint``; NaN at the first one.

    Parameters
    ----------
    change
        Share of pairs whose order reverses.
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
    """Compare the changes of both hierarchies with those of a frozen film.

    Without draws, or standard errors, only ``change`` is defined.
    """
    # The film comes first; if it is frozen, it is one of the draws.
    changes = np.full((len(ROLES), 1 + draws, len(film)), np.nan)
    for at in range(1, len(film)):
        moments = _before_and_after(film, at)
        changes[:, 0, at] = _changes(moments.weights, film)
        for batch in batches(moments, draws):
            drawn = frozen.draw(moments, rng, batch.stop - batch.start)
            changes[:, 1:][:, batch, at] = _changes(drawn, film)
    return {
        role: _reconfiguration(changes[i], strength(film.weights, film.layer, role))
        for i, role in enumerate(ROLES)
    }


def reversed_share(before: Array, after: Array) -> Array:
    """Return the share of pairs of components whose order reverses, dims ``…``.

    Takes layer-corrected strengths, dims ``…, component``. Ties have no order. NaN if fewer than
    two components have the role at both times.
    """
    before, after = comparable(before), comparable(after)
    reversed_ = (before[..., :, None] < before[..., None, :]) & (
        after[..., :, None] > after[..., None, :]
    )
    count = (~np.isnan(before) & ~np.isnan(after)).sum(axis=-1)
    pairs = count * (count - 1) / 2
    return divide(reversed_.sum(axis=(-2, -1)), pairs)


def _before_and_after(film: Film, at: int) -> Film:
    """Return the film of two moments: means over the windows on either side of a checkpoint."""
    sides = slice(max(0, at - WINDOW), at), slice(at, at + WINDOW)
    return dataclasses.replace(
        film.take(np.array([at - 1, at])),
        weights=np.stack([film.weights[side].mean(axis=0) for side in sides]),
        errors=np.stack([film.errors[side].mean(axis=0) for side in sides]),
    )


def _changes(weights: Array, film: Film) -> Array:
    """Return the changes between two moments, dims ``…, moment, source, target`` → ``role, …``."""
    strengths = [strength(weights, film.layer, role) for role in ROLES]
    return np.stack([reversed_share(pair[..., 0, :], pair[..., 1, :]) for pair in strengths])


def _reconfiguration(changes: Array, strengths: Array) -> Reconfiguration:
    """Compare a film's changes, row 0, with the draws', dims ``film and draws, checkpoint``."""
    if len(changes) == 1:
        undefined = np.full(changes.shape[1], np.nan)
        return Reconfiguration(changes[0], undefined, undefined, undefined, undefined)
    noise, deviation = changes.mean(axis=0), changes.std(axis=0)
    components = int((~np.isnan(strengths)).sum(axis=-1).max(initial=0))
    one_pair = 2 / max(components * (components - 1), 1)
    standardised = (changes - noise) / np.maximum(deviation, one_pair)
    p_value = _largest_anywhere(standardised)
    peaks = _peaks(standardised[0], p_value <= LEVEL)
    return Reconfiguration(changes[0], noise, deviation, p_value, peaks)


def _largest_anywhere(standardised: Array) -> Array:
    """Return the share of rows that reach the film's values, row 0, at any checkpoint."""
    share = np.full(standardised.shape[1], np.nan)
    defined = ~np.isnan(standardised).any(axis=0)
    if defined.any():
        largest = standardised[:, defined].max(axis=1)
        share[defined] = (largest[:, None] >= standardised[0, defined]).mean(axis=0)
    return share


def _peaks(values: Array, chosen: NDArray[np.bool_]) -> Array:
    """Mark the largest value of every run of chosen checkpoints, the first one among ties."""
    peaks = np.where(np.isnan(values), np.nan, 0.0)
    at = np.flatnonzero(chosen)
    for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
        if len(run):
            peaks[run[values[run].argmax()]] = 1
    return peaks
