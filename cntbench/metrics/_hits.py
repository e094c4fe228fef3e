"""Hubs and authorities: Kleinberg's mutual recursion, iterated until nothing moves."""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array
from cntbench.metrics._batches import batched

#: Squarings of the matrix of one iteration: 2 ** 16 iterations, from all components alike.
SQUARINGS = 16


def authorities(weights: Array) -> Array:
    """Return a = (WᵀW)^N 1 with N = 2 ** SQUARINGS, scaled to a sum of 1.

    Of graphs with several equally strong parts, all of them are in it. 0 without any weight.

    Parameters
    ----------
    weights
        Dims ``…, source, target``.
    """

    receives = ~np.isnan(weights).all(axis=tuple(range(weights.ndim - 1)))

    def few(some: Array) -> Array:
        filled = _scaled(some)
        found = np.zeros(filled.shape[:-1])
        filled = filled[..., receives]
        power = _to_unit_trace(np.matmul(filled.swapaxes(-2, -1), filled))
        for _ in range(SQUARINGS):
            squared = _to_unit_trace(np.matmul(power, power))
            still = np.abs(squared - power).max(initial=0) < np.finfo(float).eps
            power = squared
            if still:
                break
        found[..., receives] = power.sum(axis=-1)
        return _to_unit_sum(found)

    return batched(few, weights)


def hubs(weights: Array) -> Array:
    """Return h = W a for the `authorities` a, scaled to a sum of 1."""
    found = np.matmul(_scaled(weights), authorities(weights)[..., None])[..., 0]
    return _to_unit_sum(found)


def by_eigenvectors(graph: nx.DiGraph) -> tuple[Array, Array]:
    """Return hubs and authorities of a graph from the eigenvectors of WᵀW: for references."""
    weights: NDArray[np.float64] = nx.to_numpy_array(graph, weight="weight")
    values, vectors = np.linalg.eigh(weights.T @ weights)
    if not weights.any():
        return np.zeros(len(graph)), np.zeros(len(graph))
    power = np.clip(values / values[-1], 0, 1) ** (2**SQUARINGS)
    found = (vectors * power) @ vectors.sum(axis=0)
    return weights @ found / (weights @ found).sum(), found / found.sum()


def _scaled(weights: Array) -> Array:
    filled = np.where(np.isnan(weights), 0, weights)
    largest = filled.max(axis=(-2, -1), keepdims=True, initial=0)
    return np.divide(filled, largest, out=np.zeros(filled.shape), where=largest > 0)


def _to_unit_trace(matrix: Array) -> Array:
    trace = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None]
    return np.divide(matrix, trace, out=np.zeros(matrix.shape), where=trace > 0)


def _to_unit_sum(values: Array) -> Array:
    total = values.sum(axis=-1, keepdims=True)
    return np.divide(values, total, out=np.zeros(values.shape), where=total > 0)
