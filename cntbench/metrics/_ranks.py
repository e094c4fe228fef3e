"""Rank orders of components, and how alike those of two checkpoints are."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._arithmetic import TIE, divide
from cntbench.metrics._base import AXIS, LAGS, Array, Direction
from cntbench.metrics._batches import film_by_film
from cntbench.metrics._layers import layer_corrected

#: The share of the components that are in front.
FRONT = 0.25


def stability(weights: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return Kendall's τ_b between the components' layer-corrected strengths, lag by lag.

    τ_b = (C − D) / √(P P'), where C and D count the pairs of components that stand in the same and
    in the opposite order at the two checkpoints, and P and P' those that are not tied at each.

    Parameters
    ----------
    weights
        Dims ``…, checkpoint, source, target``.
    layer
        Dims ``component``.
    direction
        Of the strengths.

    Returns
    -------
    numpy.ndarray
        Dims ``…, checkpoint, lag``: of each checkpoint with that so many before it. NaN where there
        is none, and where all components are tied at one of the two.
    """

    def one(values: Array) -> Array:
        first, second = np.triu_indices(values.shape[-1], 1)
        # Whole numbers, and few enough of them: float32 counts exactly and fast.
        signs = _signs(values[:, first], values[:, second]).astype(np.float32)
        untied = np.square(signs).sum(axis=-1)
        found = np.full((len(values), len(LAGS)), np.nan)
        for place, lag in enumerate(LAGS):
            if lag >= len(values):
                break
            alike = np.einsum("cp,cp->c", signs[lag:], signs[:-lag]).astype(np.float64)
            pairs = np.sqrt(untied[lag:].astype(np.float64) * untied[:-lag])
            found[lag:, place] = divide(alike, pairs)
        return found

    return film_by_film(one, _ranked(weights, layer, direction))


def front_change(weights: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return which share of the components in front have come or gone since the checkpoint before.

    1 − |F ∩ F'| / |F ∪ F'|, where F are the quarter of the components (rounded up) whose
    layer-corrected strengths are largest; those tied with the last of them are in F too.

    Parameters
    ----------
    weights
        Dims ``…, checkpoint, source, target``.
    layer
        Dims ``component``.
    direction
        Of the strengths.

    Returns
    -------
    numpy.ndarray
        Dims ``…, checkpoint``; NaN at the first, and where no component has an edge.
    """
    values = _ranked(weights, layer, direction)
    found = np.full(values.shape[:-1], np.nan)
    count = values.shape[-1]
    if count:
        place = count - math.ceil(FRONT * count)
        last = np.partition(values, place, axis=-1)[..., place, None]
        front = values >= last * (1 - TIE)
        both = (front[..., 1:, :] & front[..., :-1, :]).sum(axis=-1)
        either = (front[..., 1:, :] | front[..., :-1, :]).sum(axis=-1)
        found[..., 1:] = 1 - both / either
    return found


def stability_reference(earlier: nx.DiGraph, later: nx.DiGraph, direction: Direction) -> float:
    """Go through all pairs of components."""
    before, after = strengths_reference(earlier, direction), strengths_reference(later, direction)
    nodes = list(before)
    alike = untied_before = untied_after = 0
    for place, a in enumerate(nodes):
        for b in nodes[:place]:
            sign = _sign(before[a], before[b]), _sign(after[a], after[b])
            alike += sign[0] * sign[1]
            untied_before += abs(sign[0])
            untied_after += abs(sign[1])
    pairs = math.sqrt(untied_before * untied_after)
    return alike / pairs if pairs else float("nan")


def front_change_reference(earlier: nx.DiGraph, later: nx.DiGraph, direction: Direction) -> float:
    """Compare the sets of the components in front."""
    fronts = []
    for graph in (earlier, later):
        values = strengths_reference(graph, direction)
        if not values:
            return float("nan")
        last = sorted(values.values(), reverse=True)[math.ceil(FRONT * len(values)) - 1]
        fronts.append({node for node, x in values.items() if x >= last * (1 - TIE)})
    return 1 - len(fronts[0] & fronts[1]) / len(fronts[0] | fronts[1])


def strengths_reference(graph: nx.DiGraph, direction: Direction) -> dict[object, float]:
    """Return the layer-corrected strengths of the components that have edges, edge by edge."""
    layer = nx.get_node_attributes(graph, "layer")
    of_pair: dict[tuple[int, int], list[float]] = {}
    for source, target, weight in graph.edges(data="weight"):
        of_pair.setdefault((layer[source], layer[target]), []).append(weight)
    found = {}
    for node in graph:
        edges = graph.out_edges(node) if direction == "out" else graph.in_edges(node)
        if edges:
            strength = sum(graph.edges[edge]["weight"] for edge in edges)
            pairs = [of_pair[layer[source], layer[target]] for source, target in edges]
            expected = sum(sum(pair) / len(pair) for pair in pairs)
            found[node] = strength / expected if expected else 1.0
    return found


def _ranked(weights: Array, layer: NDArray[np.integer], direction: Direction) -> Array:
    """Return the layer-corrected strengths of the components that have feasible edges.

    1 between layers without any weight, where all are as strong as expected.
    """
    values = layer_corrected(weights, layer, direction)
    others = (*range(weights.ndim - 2), AXIS[direction])
    there = ~np.isnan(weights).all(axis=others)
    return np.where(np.isnan(values), 1, values)[..., there]


def _signs(a: Array, b: Array) -> NDArray[np.int8]:
    tied = np.abs(a - b) <= TIE * np.maximum(a, b)
    return np.where(tied, 0, np.where(a > b, 1, -1)).astype(np.int8)


def _sign(a: float, b: float) -> int:
    return 0 if math.isclose(a, b, rel_tol=TIE) else (1 if a > b else -1)
