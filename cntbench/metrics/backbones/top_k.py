"""The strongest edges of every source, of every target, or of the whole graph.

Edges tied with the last one kept are kept too, so that the backbone does not depend on the order of
the components. Edges without weight are never kept.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.1, 0.9, 0.3], [np.nan, np.nan, 0.5, 0.4]] + [[np.nan] * 4] * 2)
>>> Parameters(k=1, of="source").keep(weights).astype(int)
array([[0, 0, 1, 0],
       [0, 0, 1, 0],
       [0, 0, 0, 0],
       [0, 0, 0, 0]])
"""

from __future__ import annotations

from typing import Annotated, Literal

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cntbench.specs import spec


@spec
class Parameters:
    """Parameters of the rule.

    Parameters
    ----------
    k
        Number of edges to keep.
    of
        Of every source, of every target, or of the whole graph.
    """

    k: Annotated[int, Field(ge=1)]
    of: Literal["source", "target", "graph"]

    def keep(self, weights: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return whether each edge is kept."""
        filled = np.where(np.isnan(weights), 0, weights)
        if self.of == "target":
            filled = filled.swapaxes(-2, -1)
        shape = filled.shape
        if self.of == "graph":
            filled = filled.reshape(*shape[:-2], 1, -1)
        index = filled.shape[-1] - self.k
        threshold = np.partition(filled, index, axis=-1)[..., index, None] if index > 0 else 0
        kept = ((filled >= threshold) & (filled > 0)).reshape(shape)
        return kept.swapaxes(-2, -1) if self.of == "target" else kept


def reference(graph: nx.DiGraph, parameters: Parameters) -> set[tuple[object, object]]:
    """Sort the edges of every group."""
    groups: dict[object, list[tuple[object, object]]] = {}
    for source, target in graph.edges:
        key = {"source": source, "target": target, "graph": None}[parameters.of]
        groups.setdefault(key, []).append((source, target))
    kept = set()
    for edges in groups.values():
        weights = sorted((graph.edges[edge]["weight"] for edge in edges), reverse=True)
        threshold = weights[: parameters.k][-1]
        kept |= {e for e in edges if 0 < graph.edges[e]["weight"] >= threshold}
    return kept
