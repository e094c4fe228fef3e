"""How far influence stays within groups of components: modularity of Louvain's communities.

Q = Σ_ij [w_ij / m − s_i^out s_j^in / m²] δ(c_i, c_j), where m is the total weight. Communities grow
from single components: each component in turn moves to the community where Q gains most, until no
move gains; then the communities are treated as components. The order of the components depends on
the edges alone (`cntbench.metrics._canonical`), so that equal graphs have equal communities. Of
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

from typing import cast

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._arithmetic import TIE, divide
from cntbench.metrics._base import Array, Metric
from cntbench.metrics._batches import batched_last
from cntbench.metrics._canonical import canonical_order

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

    Parameters
    ----------
    excess
        Gain of joining two nodes, dims ``node, node, graph``, symmetric.
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

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        The community of every node, dims ``node, graph``, and whether any node of a graph moved.
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
