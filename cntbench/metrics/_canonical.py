"""An order of a graph's nodes that depends on the edges alone, not on the labels."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array


def canonical_order(weights: Array) -> NDArray[np.intp]:
    """Order the nodes of graphs by what they send and receive.

    Nodes are sorted by the largest weight that they send, then by the largest that they receive.
    If nodes with any weight are still tied, Weisfeiler and Leman's colour refinement separates
    them: nodes differ if they exchange different weights, or the same weights with different nodes.
    Of nodes with one colour, one is singled out and the refinement goes on. If a symmetry of the
    graph maps these nodes to each other, any choice gives the same order of weights; if none does,
    as in some regular graphs, the node with the first label is chosen.

    Parameters
    ----------
    weights
        Dims ``graph, source, target``, without NaN.

    Returns
    -------
    numpy.ndarray
        Indices of the nodes, dims ``graph, rank``.
    """
    sent, received = weights.max(axis=-1, initial=0), weights.max(axis=-2, initial=0)
    order = np.lexsort((received, sent), axis=-1)
    sent, received = (np.take_along_axis(largest, order, axis=-1) for largest in (sent, received))
    tied = (np.diff(sent) == 0) & (np.diff(received) == 0)
    connected = (sent > 0) | (received > 0)
    for index in np.flatnonzero((tied & connected[..., 1:]).any(axis=-1)):
        order[index] = _colour_order(weights[index])
    return order


def _colour_order(weights: Array) -> NDArray[np.intp]:
    connected: list[bool] = np.logical_or(weights.any(axis=0), weights.any(axis=1)).tolist()
    colours = _refine(weights, [int(has_edges) for has_edges in connected])
    while True:
        classes: dict[int, list[int]] = {}
        for node, colour in enumerate(colours):
            if connected[node]:
                classes.setdefault(colour, []).append(node)
        tied = [nodes for _, nodes in sorted(classes.items()) if len(nodes) > 1]
        if not tied:
            return np.argsort(colours, kind="stable")
        first = tied[0][0]
        colours = _refine(weights, [2 * c - (n == first) for n, c in enumerate(colours)])


def _refine(weights: Array, colours: Sequence[int]) -> list[int]:
    """Colour nodes by their neighbours' colours until the number of colours stays the same."""
    rows, columns = weights.tolist(), weights.T.tolist()
    colours = list(colours)
    while True:
        signatures = [
            (
                colour,
                sorted((w, colours[target]) for target, w in enumerate(row) if w),
                sorted((w, colours[source]) for source, w in enumerate(column) if w),
            )
            for colour, row, column in zip(colours, rows, columns, strict=True)
        ]
        distinct = [signature for signature, _ in groupby(sorted(signatures))]
        refined = [bisect_left(distinct, signature) for signature in signatures]
        if len(distinct) == len(set(colours)):
            return refined
        colours = refined
