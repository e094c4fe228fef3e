"""How far influence stays within groups of components: modularity of Louvain's communities.

Q = Σ_ij [w_ij / m − s_i^out s_j^in / m²] δ(c_i, c_j), where m is all weight. Communities grow from
single components: each in turn moves to where Q gains most, until none gains; then communities are
treated as components. Components come in an order that depends on the graph alone
(`cntbench.metrics._canonical`), so that equal graphs have equal communities. Between moves whose
gains agree to nine digits of Q, the first community in that order is taken; a component stays where
it is unless it gains. It is one greedy run, which may end below the best. Source: Blondel et al.
2008, "Fast unfolding of communities in large networks"; for directed graphs Leicht and Newman 2008,
"Community structure in directed networks".

>>> import numpy as np
>>> weights = np.full((4, 4), np.nan)
>>> weights[[0, 2, 0], [1, 3, 3]] = 1, 1, 0
>>> float(compute(weights))
0.5
"""

from __future__ import annotations

from typing import cast

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._arithmetic import TIE, divide
from cntbench.metrics._base import Array, Metric
from cntbench.metrics._batches import batched
from cntbench.metrics._canonical import canonical_order

METRIC = Metric(
    per="graph",
    lower=-0.5,
    upper=1,
    degree=0,
    null="strengths",
    undefined="graphs without weight have nothing within groups",
)


def compute(weights: Array) -> Array:
    """Return the modularity of every graph."""

    def few(some: Array) -> Array:
        filled = np.where(np.isnan(some), 0, some)
        order = canonical_order(filled)
        filled = np.take_along_axis(filled, order[:, :, None], axis=1)
        filled = np.take_along_axis(filled, order[:, None, :], axis=2)
        total = filled.sum(axis=(-2, -1), keepdims=True)
        share = divide(filled, total, 0.0)
        excess = share - share.sum(axis=-1, keepdims=True) * share.sum(axis=-2, keepdims=True)
        found = _louvain(excess + excess.swapaxes(-2, -1)) / 2
        return np.where(total[:, 0, 0] > 0, found, np.nan)

    return batched(few, weights)


def _louvain(excess: Array) -> Array:
    """Merge nodes into communities; returns the sum of the excess within them.

    Parameters
    ----------
    excess
        What joining two nodes gains, dims ``graph, node, node``, symmetric; changed in place.
    """
    found = np.trace(excess, axis1=-2, axis2=-1)
    active = np.arange(len(excess))
    while len(active):
        member, moved = _communities(excess[active])
        active = active[moved]
        joined = np.eye(excess.shape[-1])[member[moved]]
        merged = np.matmul(np.matmul(joined.swapaxes(-2, -1), excess[active]), joined)
        excess[active] = merged
        found[active] = np.trace(merged, axis1=-2, axis2=-1)
    return found


def _communities(excess: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Move nodes one by one until none gains.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        The community of every node, dims ``graph, node``, and in which graphs any has moved.
    """
    graphs, nodes = excess.shape[:2]
    links = excess.copy()
    links[:, range(nodes), range(nodes)] = 0
    gains = links.copy()  # of each node from each community, without itself
    member = np.tile(np.arange(nodes), (graphs, 1))
    moved = np.zeros(graphs, dtype=bool)
    active = np.arange(graphs)
    while len(active):
        still = np.ones(len(active), dtype=bool)
        for node in range(nodes):
            gain = gains[active, node]
            best = gain.max(axis=-1)
            now = member[active, node]
            better = best > gain[np.arange(len(active)), now] + TIE
            if not better.any():
                continue
            there, old = active[better], now[better]
            new = (gain[better] >= best[better, None] - TIE).argmax(axis=-1)
            gains[there, :, old] -= links[there, node]
            gains[there, :, new] += links[there, node]
            member[there, node] = new
            still &= ~better
        moved[active] |= ~still
        active = active[~still]
    return member, moved


def reference(graph: nx.DiGraph) -> float:
    """Move components one by one, and ask networkx for the modularity of what comes of it."""
    nodes = list(graph)
    weights = np.nan_to_num(nx.to_numpy_array(graph, nodelist=nodes, weight="weight"))
    if not weights.any():
        return float("nan")
    nodes = [nodes[place] for place in canonical_order(weights[None])[0]]
    sent, received = graph.out_degree(weight="weight"), graph.in_degree(weight="weight")
    total = graph.size(weight="weight")

    def excess(some: set[object], others: set[object]) -> float:
        edges = (graph.get_edge_data(i, j, {"weight": 0.0}) for i in some for j in others)
        between = sum(edge["weight"] for edge in edges)
        chance = sum(sent[i] for i in some) * sum(received[j] for j in others)
        return float(between / total - chance / total**2)

    groups = [{node} for node in nodes]
    while True:
        community = list(range(len(groups)))
        moving = True
        while moving:
            moving = False
            for place, group in enumerate(groups):
                gains = [0.0] * len(groups)
                for other, its in enumerate(community):
                    if other != place:
                        gains[its] += excess(group, groups[other]) + excess(groups[other], group)
                if max(gains) > gains[community[place]] + TIE:
                    community[place] = next(
                        c for c, gain in enumerate(gains) if gain >= max(gains) - TIE
                    )
                    moving = True
        if community == list(range(len(groups))):
            whole = [group for group in groups if group]
            return cast(float, nx.community.modularity(graph, whole, weight="weight"))
        groups = [
            set().union(*(g for g, its in zip(groups, community, strict=True) if its == place))
            for place in range(len(groups))
        ]
