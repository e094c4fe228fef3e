"""Who is stronger than whom: the order of components by strength, pair by pair.

A pair is compared by strengths: outgoing influence for spreaders, incoming for gatherers. *Peers*
are two components that the architecture treats alike, of one layer and one kind (head or MLP): they
have as many targets and sources as each other, so that their order owes nothing to layer or kind.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.roles import Role, comparable

Among = Literal["all", "peers"]


def kinds(film: Film) -> NDArray[np.bool_]:
    """Return which components are MLPs, dims ``component``."""
    return np.array([name.endswith("MLP") for name in film.names])


def groups(film: Film) -> NDArray[np.int64]:
    """Return a number for each layer and kind, dims ``component``: equal numbers are peers."""
    return np.asarray(film.layer * 2 + kinds(film), dtype=np.int64)


def pairs(film: Film, role: Role, among: Among) -> NDArray[np.int64]:
    """Return the pairs of components that have the role, dims ``pair, two``.

    Parameters
    ----------
    film
        Its feasible edges say who can spread and who can gather.
    role
        Of both.
    among
        ``"peers"`` leaves out pairs of different layers or kinds.

    Examples
    --------
    >>> from cntbench.dynamics.simulated import template
    >>> film = template(layers=2, heads=2)
    >>> film.names
    ('L0.H0', 'L0.H1', 'L0.MLP', 'L1.H0', 'L1.H1', 'L1.MLP')
    >>> pairs(film, "gatherer", "all")
    array([[3, 4],
           [3, 5],
           [4, 5]])
    >>> pairs(film, "gatherer", "peers")
    array([[3, 4]])
    """
    able = np.flatnonzero(film.feasible.any(axis=1 if role == "spreader" else 0))
    first, second = np.triu_indices(len(able), 1)
    found = np.stack([able[first], able[second]], axis=-1)
    if among == "peers":
        group = groups(film)
        found = found[group[found[:, 0]] == group[found[:, 1]]]
    return found


def strengths(film: Film, role: Role) -> Array:
    """Return summed influence, dims ``checkpoint, component``; 0 for those without the role."""
    return np.asarray(np.nansum(film.weights, axis=2 if role == "spreader" else 1))


def compare(values: Array, two: NDArray[np.int64]) -> Array:
    """Return 1, -1 or, for ties, 0 for every pair, dims ``…, pair``.

    Parameters
    ----------
    values
        Strengths, dims ``…, component``.
    two
        As `pairs` gives them.
    """
    rounded = comparable(values)
    return np.sign(rounded[..., two[:, 0]] - rounded[..., two[:, 1]])


def kendall(signs: Array, lag: int) -> Array:
    """Return Kendall's τ between each order and the one some checkpoints later.

    τ_a = (C − D) / P, where C and D count the pairs that stand in the same and in the opposite
    order at both, and P all pairs. Source: Kendall 1938, "A new measure of rank correlation".

    Parameters
    ----------
    signs
        As `compare` gives them, dims ``checkpoint, pair``.
    lag
        In checkpoints.

    Returns
    -------
    numpy.ndarray
        Dims ``checkpoint``, shorter by the lag; NaN without pairs.
    """
    if not signs.shape[1]:
        return np.full(max(len(signs) - lag, 0), np.nan)
    return np.asarray((signs[lag:] * signs[:-lag]).mean(axis=1))


def stability(film: Film, role: Role, among: Among, lag: int) -> Array:
    """Return `kendall` of the film's orders by strength, dims ``checkpoint``."""
    return kendall(compare(strengths(film, role), pairs(film, role, among)), lag)
