"""Layers: what components exchange with each, and what layers alone would give a component."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._arithmetic import divide
from cntbench.metrics._base import Array, Direction


def by_layer(values: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Sum what every component sends to, or receives from, the components of each layer.

    Parameters
    ----------
    values
        Dims ``…, source, target``, without NaN.
    layer
        Dims ``component``.
    direction
        ``"out"`` or ``"in"``.

    Returns
    -------
    numpy.ndarray
        Dims ``…, component, layer``, the layers that there are in rising order.
    """
    member = (layer[:, None] == np.unique(layer)).astype(np.float64)
    return np.matmul(values if direction == "out" else values.swapaxes(-2, -1), member)


def layer_corrected(weights: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return every component's strength over what layers alone would give it.

    x_i = Σ_j w_ij / Σ_j ⟨w⟩_L(i)L(j) over the feasible edges of component i, where ⟨w⟩_LM is the
    mean weight of the feasible edges from layer L to layer M: the strength that i has on average
    if weights are permuted within each layer pair, the null model ``layer_pairs``.

    Parameters
    ----------
    weights
        Dims ``…, source, target``; NaN where an edge is not feasible.
    layer
        Dims ``component``.
    direction
        ``"out"`` for what components send, ``"in"`` for what they receive.

    Returns
    -------
    numpy.ndarray
        Dims ``…, component``. NaN where nothing is expected: for components without feasible edges
        in the direction, and between layers without any weight.

    Examples
    --------
    >>> weights = np.array([[np.nan, np.nan, 3.0], [np.nan, np.nan, 1.0], [np.nan] * 3])
    >>> layer_corrected(weights, np.array([0, 0, 1]), "out")
    array([1.5, 0.5, nan])
    """
    strength, expected = strength_and_expected(weights, layer, direction)
    found = np.full(strength.shape, np.nan)
    return np.divide(strength, expected, out=found, where=expected > 0)


def strength_and_expected(
    weights: Array, layer: NDArray[np.integer], direction: Direction
) -> tuple[Array, Array]:
    """Return numerator and denominator of `layer_corrected`."""
    there = ~np.isnan(weights)
    edges = by_layer(there.astype(np.float64), layer, direction)
    sent = by_layer(np.where(there, weights, 0), layer, direction)
    own = (layer[:, None] == layer).astype(np.float64)
    # Sums over all components of the same layer, for every component.
    layer_edges, layer_sent = np.matmul(own, edges), np.matmul(own, sent)
    mean = divide(layer_sent, layer_edges, 0.0)
    return sent.sum(axis=-1), (edges * mean).sum(axis=-1)
