"""Edges that carry more of their source's or target's strength than chance would give them.

If a node's strength were broken at random over its k feasible edges, an edge would have at least
the share p of it with probability (1 − p)^(k − 1). An edge is kept if this is below α for what its
source sends or for what its target receives. A node with one feasible edge says nothing about it.
Source: Serrano, Boguñá and Vespignani 2009, "Extracting the multiscale backbone of complex weighted
networks", PNAS 106, for directed graphs. Their k counts edges that are there; here it counts those
that could be, which the architecture knows.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.01, 0.9, 0.01], [np.nan, np.nan, 0.5, 0.4]] + [[np.nan] * 4] * 2)
>>> Parameters(alpha=0.05).keep(weights).astype(int)
array([[0, 0, 1, 0],
       [0, 0, 0, 1],
       [0, 0, 0, 0],
       [0, 0, 0, 0]])
"""

from __future__ import annotations

from typing import Annotated

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cntbench.metrics._arithmetic import divide
from cntbench.specs import spec


@spec
class Parameters:
    """Parameters of the rule.

    Parameters
    ----------
    alpha
        Probability by chance below which an edge is kept.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)]

    def keep(self, weights: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which edges are kept."""
        leading = tuple(range(weights.ndim - 2))
        there = np.asarray((~np.isnan(weights)).any(axis=leading))
        filled = np.where(np.isnan(weights), 0, weights)
        kept = np.zeros(weights.shape, dtype=bool)
        for axis in (-2, -1):
            others = there.sum(axis=axis, keepdims=True) - 1
            strength = filled.sum(axis=axis, keepdims=True)
            share = divide(filled, strength, 0.0)
            # (1 − p)^others < α, solved for p: no power of every edge.
            kept |= share > 1 - self.alpha ** (1 / np.maximum(others, 1)) * (others > 0)
        return kept


def reference(graph: nx.DiGraph, parameters: Parameters) -> set[tuple[object, object]]:
    """Look at every edge from both of its ends."""
    kept = set()
    for source, target, weight in graph.edges(data="weight"):
        for ends in (graph.out_edges(source, data="weight"), graph.in_edges(target, data="weight")):
            strength = sum(other for _, _, other in ends)
            by_chance = (1 - weight / strength) ** (len(ends) - 1) if weight else 1.0
            if by_chance < parameters.alpha:
                kept.add((source, target))
    return kept
