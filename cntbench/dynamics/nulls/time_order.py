"""Checkpoints permuted: the same graphs in an order of chance.

Keeps each checkpoint's graph, and so everything that a single moment says. Randomises when it
occurs. Asks: does the order in time carry it, or would any order of the same graphs show it?

Source: permutation test of time order, Holme & Saramäki 2012, "Temporal networks" (randomly
permuted times).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return the weights of the same graphs in another order."""
    return film.weights[order(len(film), rng, size)]


def order(count: int, rng: np.random.Generator, size: int | None = None) -> NDArray[np.int64]:
    """Return random orders of checkpoints, dims as those of `draw`."""
    shape = (count,) if size is None else (size, count)
    return rng.permuted(np.broadcast_to(np.arange(count), shape), axis=-1)
