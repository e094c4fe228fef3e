"""Strengths of components as spreaders and gatherers, relative to their layers.

Early components have more targets, late ones more sources, and influence differs between layers
regardless of the components. Each edge's weight is therefore divided by the mean weight between its
two layers; the strength of a component is the mean over its feasible edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._arithmetic import divide

Array = NDArray[np.float64]


def relative_to_layers(weights: Array, layers: NDArray[np.int_]) -> Array:
    """Divide each weight by the mean of the feasible edges between the same two layers.

    Parameters
    ----------
    weights
        Influence, dims ``source, target``; NaN where not feasible.
    layers
        Layer of each component.

    Returns
    -------
    Array
        Dims ``source, target``; mean 1 between any two layers (1 throughout where all are zero).
    """
    relative = np.full_like(weights, np.nan, dtype=np.float64)
    for first in np.unique(layers):
        for second in np.unique(layers):
            block = np.ix_(layers == first, layers == second)
            edges = weights[block]
            if np.isnan(edges).all():
                continue
            mean = np.nanmean(edges)
            relative[block] = edges / mean if mean else np.where(np.isnan(edges), np.nan, 1.0)
    return relative


def strengths(weights: Array, layers: NDArray[np.int_]) -> tuple[Array, Array]:
    """Return the strengths of each component as spreader and as gatherer.

    Returns
    -------
    tuple of Array
        Mean over feasible outgoing and over incoming edges, relative to the layers; NaN for
        components without such edges.
    """
    relative = relative_to_layers(weights, layers)
    feasible = ~np.isnan(relative)
    sent, received = (
        divide(np.nansum(relative, axis=axis), feasible.sum(axis=axis)) for axis in (1, 0)
    )
    return sent, received
