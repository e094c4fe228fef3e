"""Many graphs, few at a time: what is worked on stays in the processor's cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Size of the graphs that are worked on at a time [bytes].
BATCH_BYTES = 2**19


def batched(few: Callable[..., NDArray[Any]], *graphs: NDArray[Any]) -> NDArray[Any]:
    """Call a function on a batch of graphs at a time and put the results together.

    Parameters
    ----------
    few
        Takes arrays with dims ``graph, source, target``; returns one with dims ``graph, …``.
    graphs
        Arrays with dims ``…, source, target`` of equal shape.

    Returns
    -------
    numpy.ndarray
        Dims ``…`` of the graphs, then what the function gives for each.
    """
    *leading, n, m = graphs[0].shape
    flat = [part.reshape(math.prod(leading), n, m) for part in graphs]
    size = max(1, BATCH_BYTES // max(1, n * m * 8))
    starts = range(0, max(1, len(flat[0])), size)
    found = [few(*(part[start : start + size] for part in flat)) for start in starts]
    whole = found[0] if len(found) == 1 else np.concatenate(found)
    return whole.reshape((*leading, *whole.shape[1:]))


def film_by_film(one: Callable[[NDArray[Any]], NDArray[Any]], values: NDArray[Any]) -> NDArray[Any]:
    """Call a function on one film at a time and put the results together.

    Parameters
    ----------
    one
        Takes an array with dims ``checkpoint, x``; returns one with dims ``checkpoint, …``.
    values
        Dims ``…, checkpoint, x``.
    """
    *leading, checkpoints, size = values.shape
    found = [one(film) for film in values.reshape(math.prod(leading), checkpoints, size)]
    return np.stack(found).reshape((*leading, *found[0].shape))
