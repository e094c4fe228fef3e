"""Edges with a larger share of their source's or target's strength than expected by chance.

If a node's strength were split at random among its k feasible edges, an edge would have a share of
at least p with probability (1 − p)^(k − 1). An edge is kept if this probability is below α for its
source's out-strength or its target's in-strength. A node with one feasible edge is no evidence.
Source: Serrano, Boguñá and Vespignani 2009, "Extracting the multiscale backbone of complex weighted
networks", PNAS 106, for directed graphs. They count existing edges in k; here k counts the edges
that the architecture allows.

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

from cntbench.metrics._base import divide
from cntbench.metrics._batches import batched_last
from cntbench.specs import spec


@spec
class Parameters:
    """Parameters of the rule.

    Parameters
    ----------
    alpha
        Chance probability below which an edge is kept.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)]

    def keep(self, weights: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether each edge is kept."""
        leading = tuple(range(weights.ndim - 2))
        feasible = np.asarray((~np.isnan(weights)).any(axis=leading))

        def batch_kept(batch: NDArray[np.floating]) -> NDArray[np.bool_]:
            filled = np.where(np.isnan(batch), 0, batch)
            kept = np.zeros(filled.shape, dtype=bool)
            for axis in (0, 1):
                others = feasible.sum(axis=axis, keepdims=True)[..., None] - 1
                share = divide(filled, filled.sum(axis=axis, keepdims=True), 0.0)
                # (1 − p)^others < α, solved for p: one power per node instead of one per edge.
                kept |= share > 1 - self.alpha ** (1 / np.maximum(others, 1)) * (others > 0)
            return kept

        return batched_last(batch_kept, weights)


def reference(graph: nx.DiGraph, parameters: Parameters) -> set[tuple[object, object]]:
    """Test every edge at both ends."""
    kept = set()
    for source, target, weight in graph.edges(data="weight"):
        for ends in (graph.out_edges(source, data="weight"), graph.in_edges(target, data="weight")):
            strength = sum(other for _, _, other in ends)
            probability = (1 - weight / strength) ** (len(ends) - 1) if weight else 1.0
            if probability < parameters.alpha:
                kept.add((source, target))
    return kept
