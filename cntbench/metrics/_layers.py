"""What components exchange with each layer, and the strength that their layer alone predicts."""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import AXIS, Array, Direction, divide
from cntbench.metrics._batches import batched_last


def by_layer(values: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Sum what every component sends to each layer, or receives from it.

    Parameters
    ----------
    values
        Dims ``source, target, …``, without NaN.
    layer
        Dims ``component``.
    direction
        ``"out"`` or ``"in"``.

    Returns
    -------
    numpy.ndarray
        Dims ``component, layer, …``, with the layers in ascending order.
    """
    facing = values if direction == "out" else values.swapaxes(0, 1)
    member = (np.unique(layer)[:, None] == layer).astype(np.float64)
    summed = np.matmul(member, facing.reshape(*facing.shape[:2], -1))
    return summed.reshape(len(layer), len(member), *values.shape[2:])


def of_peers(values: Array, layer: NDArray[np.integer]) -> Array:
    """Sum values, dims ``component, …``, over the components of each one's layer."""
    same_layer = (layer[:, None] == layer).astype(np.float64)
    return np.matmul(same_layer, values.reshape(len(layer), -1)).reshape(values.shape)


def layer_corrected(weights: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return every component's strength relative to the strength that its layer alone predicts.

    x_i = Σ_j w_ij / Σ_j ⟨w⟩_L(i)L(j) over the feasible edges of component i, where ⟨w⟩_LM is the
    mean weight of the feasible edges from layer L to layer M. The denominator is the mean strength
    of i when weights are permuted within each layer pair (the null model ``layer_pairs``).

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
        Dims ``…, component``. NaN where the predicted strength is 0: the component has no feasible
        edges in the direction, or there is no weight between the layers.

    Examples
    --------
    >>> weights = np.array([[np.nan, np.nan, 3.0], [np.nan, np.nan, 1.0], [np.nan] * 3])
    >>> layer_corrected(weights, np.array([0, 0, 1]), "out")
    array([1.5, 0.5, nan])
    """
    return divide(*strength_and_expected(weights, layer, direction))


def ranked_strengths(weights: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return `layer_corrected` strengths of the components that have feasible edges.

    1 between layers without any weight, where every strength is as predicted.
    """
    values = layer_corrected(weights, layer, direction)
    has_edges = ~np.isnan(weights).all(axis=(*range(weights.ndim - 2), AXIS[direction]))
    return np.where(np.isnan(values), 1, values)[..., has_edges]


def ranked_strengths_reference(graph: nx.DiGraph, direction: Direction) -> dict[object, float]:
    """Compute `ranked_strengths` edge by edge."""
    layer = nx.get_node_attributes(graph, "layer")
    weights_of_pair: dict[tuple[int, int], list[float]] = {}
    for source, target, weight in graph.edges(data="weight"):
        weights_of_pair.setdefault((layer[source], layer[target]), []).append(weight)
    strengths = {}
    for node in graph:
        edges = graph.out_edges(node) if direction == "out" else graph.in_edges(node)
        if edges:
            strength = sum(graph.edges[edge]["weight"] for edge in edges)
            pairs = [weights_of_pair[layer[source], layer[target]] for source, target in edges]
            expected = sum(sum(pair) / len(pair) for pair in pairs)
            strengths[node] = strength / expected if expected else 1.0
    return strengths


def strength_and_expected(
    weights: Array, layer: NDArray[np.integer], direction: Direction
) -> tuple[Array, Array]:
    """Return numerator and denominator of `layer_corrected`."""

    def batch_strengths(batch: Array) -> Array:
        feasible = ~np.isnan(batch)
        strength = by_layer(np.where(feasible, batch, 0), layer, direction)
        same_edges = (feasible == feasible[..., :1]).all()  # then the edges are counted once
        edges = by_layer(feasible[..., :1] if same_edges else feasible, layer, direction)
        share = divide(edges, of_peers(edges, layer), 0.0)
        expected = (share * of_peers(strength, layer)).sum(axis=1)
        return np.stack([strength.sum(axis=1), expected])

    strength, expected = np.moveaxis(batched_last(batch_strengths, weights), -2, 0)
    return strength, expected
