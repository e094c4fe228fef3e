"""What null models share: the array that they fill, and which edges join the same two layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film


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
