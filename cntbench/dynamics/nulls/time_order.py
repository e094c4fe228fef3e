"""Checkpoints permuted: the same graphs in random order.

Keeps each checkpoint's graph, and with it everything that a single checkpoint shows. Randomises
when it occurs. Asks: does this depend on the order in time, or would any order of the same graphs
show it?

Source: permutation test of time order, Holme & Saramäki 2012, "Temporal networks" (randomly
permuted times).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return the weights of the same graphs in random order."""
    return film.weights[order(len(film), rng, size)]


def order(count: int, rng: np.random.Generator, size: int | None = None) -> NDArray[np.int64]:
    """Return random orders of checkpoints, dims ``checkpoint`` or ``draw, checkpoint``."""
    shape = (count,) if size is None else (size, count)
    return rng.permuted(np.broadcast_to(np.arange(count), shape), axis=-1)
