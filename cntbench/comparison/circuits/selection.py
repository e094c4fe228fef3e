"""Select circuits by score: the best edges, or a greedy walk from the readout; random circuits.

Edges have dims ``source, target``. Sources are the embedding, then the components in causal order;
targets are the components, then the unembedding. If queries, keys and values have separate edges,
dims are ``input, source, target``. A score is NaN where there is no edge and where the method does
not score one; an unscored edge is in every circuit and counts in no budget.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cntbench.analysis.recovery import tied

Scores = NDArray[np.float64]
Edges = NDArray[np.bool_]
Ranking = Literal["signed", "absolute"]
Selection = Literal["top", "greedy"]


def top(scores: Scores, count: int) -> Edges:
    """Return the ``count`` edges with the highest scores; ties resolve in causal order.

    Scores that differ by rounding are tied.

    Examples
    --------
    >>> top(np.array([[0.2, 0.5], [np.nan, 0.9]]), 2).astype(int)
    array([[0, 1],
           [0, 1]])
    """
    scored = np.flatnonzero(np.isfinite(scores))
    best = scored[np.argsort(-tied(scores.flat[scored]), kind="stable")[:count]]
    chosen = np.zeros(scores.shape, dtype=bool)
    chosen.flat[best] = True
    return chosen


def greedy(scores: Scores, count: int) -> Edges:
    """Return up to ``count`` edges: repeatedly the best edge into a node already in the circuit.

    The walk starts at the readout. Scores that differ by rounding are tied.

    Source: ``Graph.apply_greedy`` of EAP-IG (Hanna et al. 2024, arXiv 2403.17806).
    """
    targets, sources = scores.shape[-1], scores.shape[-2]
    by_target = np.moveaxis(tied(scores.ravel()).reshape(scores.shape), -1, 0).reshape(targets, -1)
    chosen = np.zeros(by_target.shape, dtype=bool)
    seen: set[int] = set()
    waiting: list[tuple[float, int, int]] = []

    def reach(target: int) -> None:
        seen.add(target)
        for edge in np.flatnonzero(np.isfinite(by_target[target])):
            heapq.heappush(waiting, (-by_target[target, edge], target, int(edge)))

    reach(targets - 1)
    while waiting and count > 0:
        _, target, edge = heapq.heappop(waiting)
        chosen[target, edge] = True
        count -= 1
        source = edge % sources
        if source > 0 and source - 1 not in seen:  # the embedding has no incoming edges
            reach(source - 1)
    edges: Edges = np.moveaxis(chosen.reshape(targets, *scores.shape[:-1]), 0, -1)
    return edges


SELECTIONS: Mapping[Selection, Callable[[Scores, int], Edges]] = {"top": top, "greedy": greedy}


def pruned(circuit: Edges) -> Edges:
    """Return the edges of a circuit that lie on a path from the embedding to the readout.

    The others carry replaced values only. Source: ``Graph.prune`` of EAP-IG.
    """
    flat: Edges = np.asarray(circuit.reshape(-1, *circuit.shape[-2:]).any(axis=0))
    count = circuit.shape[-2]
    # Nodes: the embedding, the components, the readout; edge [s, t] leads from s to t + 1.
    reached, reaching = np.zeros(count + 1, dtype=bool), np.zeros(count + 1, dtype=bool)
    reached[0] = reaching[-1] = True
    for node in range(1, count + 1):
        reached[node] = (reached[:-1] & flat[:, node - 1]).any()
    for node in reversed(range(count)):
        reaching[node] = (flat[node] & reaching[1:]).any()
    path: Edges = circuit & reached[:-1, None] & reaching[1:]
    return path


def with_unscored(chosen: Edges, unscored: Edges) -> Edges:
    """Add the unscored edges to circuits and prune the rest; dims as ``chosen``."""
    working = chosen.copy()
    for index in np.ndindex(chosen.shape[: chosen.ndim - unscored.ndim]):
        working[index] = pruned(chosen[index] | unscored) | unscored
    return working


def layer_pairs(layers: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Number the groups of edges that share an input and join the same two layers.

    The embedding and the unembedding have layers of their own.
    """
    source, target = np.append(-1, layers) + 1, np.append(layers, layers.max() + 1)
    width = int(layers.max()) + 2
    pair = source[:, None] * width + target
    inputs = np.arange(np.prod(shape[:-2], dtype=int)).reshape(*shape[:-2], 1, 1)
    return inputs * width * width + pair


def shuffled(
    circuit: Edges, scored: Edges, groups: NDArray[np.int64], rng: np.random.RandomState, draws: int
) -> Edges:
    """Return random circuits of the same size, dims ``draw`` and those of ``circuit``.

    Parameters
    ----------
    scored
        The edges that may be chosen.
    groups
        Group of each edge. Edges are shuffled within groups, so each keeps its number of edges.
    """
    edges = np.flatnonzero(scored)
    group = groups.flat[edges]
    order = group.argsort(kind="stable")
    keys = group[order] + rng.random_sample((draws, len(edges)))
    drawn = np.zeros((draws, *circuit.shape), dtype=bool)
    flat = drawn.reshape(draws, circuit.size)
    flat[:, edges[order]] = circuit.flat[edges[order]][keys.argsort(axis=1)]
    return drawn
