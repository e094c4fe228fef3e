"""Graphs in batches that fit into the processor's cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Size of a batch of graphs [bytes].
BATCH_BYTES = 2**20


def batched(function: Callable[..., NDArray[Any]], *arrays: NDArray[Any]) -> NDArray[Any]:
    """Call a function on one batch of graphs at a time and concatenate the results.

    Parameters
    ----------
    function
        Takes arrays with dims ``graph, source, target``; returns one with dims ``graph, …``.
    arrays
        Dims ``…, source, target``, all of one shape.

    Returns
    -------
    numpy.ndarray
        The leading dims of the arrays, then those that the function adds.
    """
    results = [function(*map(np.ascontiguousarray, batch)) for batch in _batches(arrays)]
    joined = np.concatenate(results)
    return joined.reshape((*arrays[0].shape[:-2], *joined.shape[1:]))


def batched_last(function: Callable[..., NDArray[Any]], *arrays: NDArray[Any]) -> NDArray[Any]:
    """Do what `batched` does, for a function that takes and returns graphs along the last dim.

    Sums, minima and maxima over nodes then run along whole batches of graphs, not along a few
    nodes, which is several times as fast for small graphs.

    Parameters
    ----------
    function
        Takes arrays with dims ``source, target, graph``; returns one with dims ``…, graph``.
    arrays
        Dims ``…, source, target``, all of one shape.
    """
    results = [
        function(*(np.ascontiguousarray(np.moveaxis(array, 0, -1)) for array in batch))
        for batch in _batches(arrays)
    ]
    joined = np.moveaxis(np.concatenate(results, axis=-1), -1, 0)
    return joined.reshape((*arrays[0].shape[:-2], *joined.shape[1:]))


def with_graphs_last(weights: NDArray[Any]) -> NDArray[Any]:
    """Return weights, dims ``…, source, target``, in the order in memory of `batched_last`."""
    last = np.ascontiguousarray(np.moveaxis(weights, (-2, -1), (0, 1)))
    return np.moveaxis(last, (0, 1), (-2, -1))


def _batches(arrays: Sequence[NDArray[Any]]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yield batches of arrays, dims ``…, source, target`` → ``graph, source, target``."""
    *leading, n, m = arrays[0].shape
    flat = [array.reshape(math.prod(leading), n, m) for array in arrays]
    size = max(1, BATCH_BYTES // max(1, n * m * 8))
    for start in range(0, max(1, len(flat[0])), size):
        yield tuple(array[start : start + size] for array in flat)


def film_by_film(
    function: Callable[[NDArray[Any]], NDArray[Any]], values: NDArray[Any]
) -> NDArray[Any]:
    """Call a function on one film at a time and stack the results.

    Parameters
    ----------
    function
        Takes an array with dims ``checkpoint, x``; returns one with dims ``checkpoint, …``.
    values
        Dims ``…, checkpoint, x``.
    """
    *leading, checkpoints, size = values.shape
    results = [function(film) for film in values.reshape(math.prod(leading), checkpoints, size)]
    return np.stack(results).reshape((*leading, *results[0].shape))
