"""Helpers of null models: batches of draws, and groups of edges by layer pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film

#: Weights drawn at once [bytes]; computing with them takes a multiple of it.
BATCH = 2**24


def batches(film: Film, draws: int) -> Iterator[slice]:
    """Yield the draws to make at once; they depend only on the film's size."""
    size = max(1, BATCH // max(film.weights.nbytes, 1))
    for start in range(0, draws, size):
        yield slice(start, min(start + size, draws))


def copies(film: Film, size: int | None) -> Array:
    """Return the film's weights, repeated ``size`` times along a new first dim, or once."""
    if size is None:
        return film.weights.copy()
    return np.repeat(film.weights[None], size, axis=0)


def layer_pair(film: Film) -> NDArray[np.int64]:
    """Return a number for each pair of layers, dims ``source, target``; -1 where not feasible."""
    last = int(film.layer.max(initial=0))
    pair = film.layer[:, None] * (last + 1) + film.layer[None, :]
    return np.where(film.feasible, pair, -1)
