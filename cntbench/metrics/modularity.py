"""How far influence stays within groups of components: modularity of Louvain's communities.

Q = Σ_ij [w_ij / m − s_i^out s_j^in / m²] δ(c_i, c_j), where m is the total weight. Communities grow
from single components: each component in turn moves to the community where Q gains most, until no
move gains; then the communities are treated as components. The order of the components depends on
the edges alone (`canonical_order`), so that equal graphs have equal communities. Of
moves whose gains agree to nine digits of Q, the first community in that order is chosen; a
component moves only if Q gains. This is one greedy run, which may miss the maximum. Source: Blondel
et al. 2008, "Fast unfolding of communities in large networks"; for directed graphs Leicht and
Newman 2008, "Community structure in directed networks".

>>> import numpy as np
>>> weights = np.full((4, 4), np.nan)
>>> weights[[0, 2, 0], [1, 3, 3]] = 1, 1, 0
>>> float(compute(weights))
0.5
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby
from typing import cast

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import TIE, Array, Metric, divide
from cntbench.metrics._batches import batched_last

METRIC = Metric(
    per="graph",
    lower=-0.5,
    upper=1,
    degree=0,
    null="strengths",
    undefined="graphs without weight have no communities",
)


def compute(weights: Array) -> Array:
    """Return the modularity of every graph."""

    def batch_modularity(batch: Array) -> Array:
        filled = np.where(np.isnan(batch), 0, batch)
        order = canonical_order(np.moveaxis(filled, -1, 0)).T
        filled = filled[order[:, None], order, range(filled.shape[-1])]
        total = filled.sum(axis=(0, 1))
        share = divide(filled, total, 0.0)
        excess = share - share.sum(axis=1)[:, None] * share.sum(axis=0)
        modularity = _louvain(excess + excess.swapaxes(0, 1)) / 2
        return np.where(total > 0, modularity, np.nan)

    return batched_last(batch_modularity, weights)


def _louvain(excess: Array) -> Array:
    """Merge nodes into communities and return the sum of the excess within them.

    The excess is the gain of joining two nodes, dims ``node, node, graph``, symmetric.
    """
    within = np.trace(excess)
    active = np.arange(excess.shape[-1])
    while len(active):
        community, moved = _move_nodes(excess)
        active, community, excess = active[moved], community[:, moved], excess[..., moved]
        membership = np.eye(len(excess))[community.T]  # graph, node, community
        joined = np.ascontiguousarray(np.moveaxis(excess, -1, 0)) @ membership
        joined = membership.swapaxes(-2, -1) @ joined
        excess = np.ascontiguousarray(np.moveaxis(joined, 0, -1))
        within[active] = np.trace(excess)
    return within


def _move_nodes(excess: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Move nodes one by one until no move gains.

    Returns the community of every node, dims ``node, graph``, and whether any node of a graph
    moved.
    """
    nodes, _, graphs = excess.shape
    links = excess.copy()
    links[range(nodes), range(nodes)] = 0
    gains = links.copy()  # of each node in each community, without the node itself
    community = np.tile(np.arange(nodes)[:, None], graphs)
    moved = np.zeros(graphs, dtype=bool)
    every, moving = np.arange(graphs), True
    while moving:
        moving = False
        for node in range(nodes):
            gain, current = gains[node], community[node]
            best = gain.max(axis=0)
            at = np.flatnonzero(best > gain[current, every] + TIE)
            if len(at):
                target = (gain[:, at] >= best[at] - TIE).argmax(axis=0)
                change = links[:, node, at]
                gains[:, current[at], at] -= change
                gains[:, target, at] += change
                current[at] = target
                moved[at] = moving = True
    return community, moved


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


def reference(graph: nx.DiGraph) -> float:
    """Move components one by one and return networkx's modularity of the communities."""
    nodes = list(graph)
    weights = np.nan_to_num(nx.to_numpy_array(graph, nodelist=nodes, weight="weight"))
    if not weights.any():
        return float("nan")
    nodes = [nodes[index] for index in canonical_order(weights[None])[0]]
    sent, received = graph.out_degree(weight="weight"), graph.in_degree(weight="weight")
    total = graph.size(weight="weight")

    def excess(sources: set[object], targets: set[object]) -> float:
        edges = (graph.get_edge_data(i, j, {"weight": 0.0}) for i in sources for j in targets)
        between = sum(edge["weight"] for edge in edges)
        chance = sum(sent[i] for i in sources) * sum(received[j] for j in targets)
        return float(between / total - chance / total**2)

    groups = [{node} for node in nodes]
    while True:
        community = list(range(len(groups)))
        moving = True
        while moving:
            moving = False
            for index, group in enumerate(groups):
                gains = [0.0] * len(groups)
                for other, label in enumerate(community):
                    if other != index:
                        gains[label] += excess(group, groups[other]) + excess(groups[other], group)
                if max(gains) > gains[community[index]] + TIE:
                    community[index] = next(
                        c for c, gain in enumerate(gains) if gain >= max(gains) - TIE
                    )
                    moving = True
        if community == list(range(len(groups))):
            nonempty = [group for group in groups if group]
            return cast(float, nx.community.modularity(graph, nonempty, weight="weight"))
        groups = [
            set().union(*(g for g, label in zip(groups, community, strict=True) if label == index))
            for index in range(len(groups))
        ]
