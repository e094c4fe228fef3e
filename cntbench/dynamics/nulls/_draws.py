"""What null models share: how much to draw at once, and which edges join the same two layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film

#: Weights drawn at once [bytes]; what is computed from them takes a multiple.
BATCH = 2**24


def batches(film: Film, draws: int) -> Iterator[slice]:
    """Yield which of many draws to make at once; it depends on nothing but the film's size."""
    size = max(1, BATCH // max(film.weights.nbytes, 1))
    for start in range(0, draws, size):
        yield slice(start, min(start + size, draws))


def copies(film: Film, size: int | None) -> Array:
    """Return the film's weights, ``size`` times over along a new first dim unless it is None."""
    if size is None:
        return film.weights.copy()
    return np.repeat(film.weights[None], size, axis=0)


def layer_pair(film: Film) -> NDArray[np.int64]:
    """Return a number for each pair of layers, dims ``source, target``; -1 where not feasible.

    Examples
    --------
    >>> import numpy as np
    >>> from cntbench.dynamics.simulated import template
    >>> np.unique(layer_pair(template(layers=3, heads=2)))
    array([-1,  1,  2,  5])
    """
    last = int(film.layer.max(initial=0))
    pair = film.layer[:, None] * (last + 1) + film.layer[None, :]
    return np.where(film.feasible, pair, -1)
