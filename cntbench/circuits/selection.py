"""Circuits from scores: the best edges, a walk from the readout, a threshold; and random ones.

Edges have dims ``source, target``: first the embedding among the sources, last the unembedding
among the targets, between them the components in causal order. If queries, keys and values have
edges of their own, dims are ``input, source, target``. Scores are NaN where there is no edge, and
where a method does not score one: such an edge stays in every circuit and counts in no budget.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Edges = NDArray[np.bool_]
Ranking = Literal["signed", "absolute"]
Selection = Literal["top", "greedy"]


def top(scores: Scores, count: int) -> Edges:
    """Return the ``count`` edges of the highest scores; of equal ones the first in causal order.

    Examples
    --------
    >>> top(np.array([[0.2, 0.5], [np.nan, 0.9]]), 2).astype(int)
    array([[0, 1],
           [0, 1]])
    """
    scored = np.flatnonzero(np.isfinite(scores))
    best = scored[np.argsort(-scores.flat[scored], kind="stable")[:count]]
    kept = np.zeros(scores.shape, dtype=bool)
    kept.flat[best] = True
    return kept


def greedy(scores: Scores, count: int) -> Edges:
    """Return up to ``count`` edges, each the best one into the readout or a source of an earlier.

    Source: ``Graph.apply_greedy`` of EAP-IG (Hanna et al. 2024, arXiv 2403.17806).
    """
    targets, sources = scores.shape[-1], scores.shape[-2]
    by_target = np.moveaxis(scores, -1, 0).reshape(targets, -1)
    kept = np.zeros(by_target.shape, dtype=bool)
    seen: set[int] = set()
    waiting: list[tuple[float, int, int]] = []

    def reach(target: int) -> None:
        seen.add(target)
        for place in np.flatnonzero(np.isfinite(by_target[target])):
            heapq.heappush(waiting, (-by_target[target, place], target, int(place)))

    reach(targets - 1)
    while waiting and count > 0:
        _, target, place = heapq.heappop(waiting)
        kept[target, place] = True
        count -= 1
        source = place % sources
        if source > 0 and source - 1 not in seen:  # the embedding has no incoming edges
            reach(source - 1)
    whole: Edges = np.moveaxis(kept.reshape(targets, *scores.shape[:-1]), 0, -1)
    return whole


SELECTIONS: Mapping[Selection, Callable[[Scores, int], Edges]] = {"top": top, "greedy": greedy}


def pruned(kept: Edges) -> Edges:
    """Return the edges that lie on a path of kept edges from the embedding to the readout.

    Source: ``Graph.prune`` of EAP-IG; what is left out carries replaced values only.
    """
    flat: Edges = np.asarray(kept.reshape(-1, *kept.shape[-2:]).any(axis=0))
    count = kept.shape[-2]
    # Nodes: the embedding, the components, the readout; edge [s, t] leads from s to t + 1.
    reached, reaching = np.zeros(count + 1, dtype=bool), np.zeros(count + 1, dtype=bool)
    reached[0] = reaching[-1] = True
    for node in range(1, count + 1):
        reached[node] = (reached[:-1] & flat[:, node - 1]).any()
    for node in reversed(range(count)):
        reaching[node] = (flat[node] & reaching[1:]).any()
    path: Edges = kept & reached[:-1, None] & reaching[1:]
    return path


def layer_pairs(layers: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return a number for each pair of layers that an edge joins, and for each input.

    Parameters
    ----------
    layers
        Of the components. The embedding and the readout have layers of their own.
    shape
        Of the scores.
    """
    source, target = np.append(-1, layers) + 1, np.append(layers, layers.max() + 1)
    width = int(layers.max()) + 2
    pair = source[:, None] * width + target
    inputs = np.arange(np.prod(shape[:-2], dtype=int)).reshape(*shape[:-2], 1, 1)
    return inputs * width * width + pair


def shuffled(
    kept: Edges, scored: Edges, groups: NDArray[np.int64], rng: np.random.RandomState, draws: int
) -> Edges:
    """Return random circuits of the same size, dims ``draw`` and those of ``kept``.

    Parameters
    ----------
    kept
        A circuit.
    scored
        The edges that may be chosen.
    groups
        Within which edges are exchanged: every group keeps its number of edges.
    rng, draws
        Random numbers; number of circuits.
    """
    places = np.flatnonzero(scored)
    group = groups.flat[places]
    order = group.argsort(kind="stable")
    keys = group[order] + rng.random_sample((draws, len(places)))
    drawn = np.zeros((draws, *kept.shape), dtype=bool)
    flat = drawn.reshape(draws, kept.size)
    flat[:, places[order]] = kept.flat[places[order]][keys.argsort(axis=1)]
    return drawn
