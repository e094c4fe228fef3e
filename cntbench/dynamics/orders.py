"""The order of components by strength, pair by pair.

Strength is outgoing influence for spreaders, incoming influence for gatherers, and betweenness for
gatekeepers: the share of the shortest paths between others that pass through a component
(`cntbench.metrics.betweenness`; strong edges are short). *Peers* are components of the same layer
and kind (head, MLP or expert), which the architecture treats alike: they have the same numbers of
targets and sources, so their order does not depend on layer or kind.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cntbench.components import kind_of
from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.metrics import betweenness
from cntbench.metrics._base import order
from cntbench.metrics._paths import distances

Role = Literal["spreader", "gatherer", "gatekeeper"]
Among = Literal["all", "peers"]


def groups(film: Film) -> NDArray[np.int64]:
    """Return the number of each component's group of peers, dims ``component``."""
    is_head = np.array([kind_of(name) == "head" for name in film.names])
    return np.asarray(film.layer * 2 + ~is_head, dtype=np.int64)


def pairs(film: Film, role: Role, among: Among) -> NDArray[np.int64]:
    """Return the pairs of components that can have the role, dims ``pair, two``.

    Feasible edges determine which components can. ``"peers"`` leaves out pairs of different layers
    or kinds.
    """
    able = np.flatnonzero(having(film, role))
    return _pairs(tuple(able), tuple(groups(film)[able]) if among == "peers" else None)


def having(film: Film, role: Role) -> NDArray[np.bool_]:
    """Return which components can have a role, dims ``component``."""
    sends, receives = (film.feasible.any(axis=axis) for axis in (1, 0))
    able = {"spreader": sends, "gatherer": receives, "gatekeeper": sends & receives}
    return np.asarray(able[role])


@lru_cache(maxsize=32)  # a null model's draws have the same pairs
def _pairs(able: tuple[int, ...], group: tuple[int, ...] | None) -> NDArray[np.int64]:
    """Return all pairs, or those within a group; ``group`` has a number for each component."""
    first, second = np.triu_indices(len(able), 1)
    chosen = np.stack([np.array(able, dtype=np.int64)[at] for at in (first, second)], axis=-1)
    if group is not None:
        number = np.array(group, dtype=np.int64)
        chosen = chosen[number[first] == number[second]]
    chosen.setflags(write=False)
    return chosen


def strengths(film: Film, role: Role) -> Array:
    """Return summed influence, or betweenness, dims ``checkpoint, component``.

    0 for those that lack the role. Raises `Undefined` if most of the film has no gatekeepers:
    every shortest path is a single edge.
    """
    if role == "gatekeeper":
        passing = film.keep(
            role, lambda: betweenness.compute(film.weights, distance=distances(film.weights))
        )
        if not np.median(passing.max(axis=-1, initial=0)):
            raise Undefined("there are no gatekeepers: the strongest paths are single edges")
        return np.asarray(passing, dtype=np.float64)
    axis = 2 if role == "spreader" else 1
    return film.keep(role, lambda: np.asarray(np.nansum(film.weights, axis=axis)))


def compare(values: Array, pair: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return the order of every pair: 1, -1, or 0 for ties, dims ``…, pair``."""
    return order(values[..., pair[:, 0]], values[..., pair[:, 1]])


def kendall(signs: NDArray[np.number], lag: int) -> Array:
    """Return Kendall's τ between each order and the one ``lag`` checkpoints later.

    τ_a = (C − D) / P, where C and D count the pairs that are in the same and in the opposite order
    at both, and P all pairs. Source: Kendall 1938, "A new measure of rank correlation".

    Parameters
    ----------
    signs
        From `compare`, dims ``checkpoint, pair``.
    lag
        Number of checkpoints between the two orders.

    Returns
    -------
    numpy.ndarray
        Dims ``checkpoint``, shorter by the lag; NaN without pairs.
    """
    if not signs.shape[1]:
        return np.full(max(len(signs) - lag, 0), np.nan)
    return np.asarray((signs[lag:] * signs[:-lag]).mean(axis=1))


def stability(film: Film, role: Role, among: Among, lag: int) -> Array:
    """Return Kendall's τ of the film's orders by strength, dims ``checkpoint``; see `kendall`."""
    return kendall(compare(strengths(film, role), pairs(film, role, among)), lag)
