"""An order of a graph's nodes that comes from the graph alone, not from their labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array


def canonical_order(weights: Array) -> NDArray[np.intp]:
    """Order the nodes of graphs by what they send and receive.

    By the largest weight that a node sends, then by the largest that it receives. Where that does
    not tell all nodes apart that have any weight, the colours of Weisfeiler and Leman do: nodes
    differ if they send or receive different weights, or to or from nodes that differ. Of nodes that
    are still alike, one is singled out and the others are told apart by it. Where a symmetry of the
    graph maps them to each other, it does not matter which; of nodes that the colours cannot tell
    apart without such a symmetry, as in some regular graphs, the first label is taken.

    Parameters
    ----------
    weights
        Dims ``graph, source, target``, without NaN.

    Returns
    -------
    numpy.ndarray
        Indices of the nodes, dims ``graph, place``.
    """
    sends, receives = weights.max(axis=-1, initial=0), weights.max(axis=-2, initial=0)
    order = np.lexsort((receives, sends), axis=-1)
    sends, receives = (np.take_along_axis(part, order, axis=-1) for part in (sends, receives))
    alike = (np.diff(sends) == 0) & (np.diff(receives) == 0)
    linked = (sends > 0) | (receives > 0)
    for index in np.flatnonzero((alike & linked[..., 1:]).any(axis=-1)):
        order[index] = _by_colours(weights[index])
    return order


def _by_colours(weights: Array) -> NDArray[np.intp]:
    linked: list[bool] = np.logical_or(weights.any(axis=0), weights.any(axis=1)).tolist()
    colours = _refined(weights, [int(one) for one in linked])
    while True:
        of_colour: dict[int, list[int]] = {}
        for node, colour in enumerate(colours):
            if linked[node]:
                of_colour.setdefault(colour, []).append(node)
        alike = [nodes for _, nodes in sorted(of_colour.items()) if len(nodes) > 1]
        if not alike:
            return np.argsort(colours, kind="stable")
        single = alike[0][0]
        colours = _refined(weights, [2 * c - (n == single) for n, c in enumerate(colours)])


def _refined(weights: Array, colours: Sequence[int]) -> list[int]:
    """Colour nodes by their neighbours' colours until no more of them differ."""
    rows, columns = weights.tolist(), weights.T.tolist()
    found = list(colours)
    while True:
        signatures = [
            (
                found[node],
                sorted((w, found[other]) for other, w in enumerate(rows[node]) if w),
                sorted((w, found[other]) for other, w in enumerate(columns[node]) if w),
            )
            for node in range(len(found))
        ]
        place = {repr(one): rank for rank, one in enumerate(sorted(signatures))}
        ranks = sorted(set(place.values()))
        refined = [ranks.index(place[repr(one)]) for one in signatures]
        if len(set(refined)) == len(set(found)):
            return refined
        found = refined
