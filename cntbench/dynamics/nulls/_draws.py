"""Draws from null models in batches, and what null models share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.dynamics.film import Array, Film

#: Weights drawn at once [bytes]; computing with them takes a multiple of it.
BATCH = 2**24


def batches(film: Film, draws: int) -> Iterator[slice]:
    """Yield the draws to make at once; they depend only on the film's size."""
    size = max(1, BATCH // max(film.weights.nbytes, 1))
    for start in range(0, draws, size):
        yield slice(start, min(start + size, draws))


def drawn_batches(film: Film, null: str, rng: np.random.Generator, draws: int) -> Iterator[Array]:
    """Yield draws from a null model, dims ``draw, checkpoint, source, target``.

    Of a null model with a limited number of draws, each comes once, at a single checkpoint.
    """
    module = plugins.find("null model", null)
    if hasattr(module, "everything"):
        everything = module.everything(film)[:draws]
        if len(everything) and len(film):
            yield everything
        return
    for batch in batches(film, draws):
        yield module.draw(film, rng, batch.stop - batch.start)


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
