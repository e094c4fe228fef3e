"""One moment of the film as a networkx graph."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray


def to_graph(weights: NDArray[np.floating], names: Sequence[str] | None = None) -> nx.DiGraph:
    """Return the graph of the feasible edges.

    Parameters
    ----------
    weights
        Influence, dims ``source, target``; NaN where the edge is not feasible.
    names
        Names of the components; their indices if left out.

    Returns
    -------
    networkx.DiGraph
        All components as nodes, each feasible edge with its ``weight``.
    """
    labels = list(range(len(weights))) if names is None else list(names)
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(labels)
    graph.add_weighted_edges_from(
        (labels[s], labels[t], float(weights[s, t])) for s, t in np.argwhere(~np.isnan(weights))
    )
    return graph
