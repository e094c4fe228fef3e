"""Hub and authority scores: Kleinberg's mutual recursion, iterated until it converges.

h ∝ W a and a ∝ Wᵀ h, where h is the hub score and a the authority score; each sums to 1 over the
components. 0 for graphs without weight. Source: Kleinberg 1999, "Authoritative sources in a
hyperlinked environment" (HITS), weighted.

>>> import numpy as np
>>> weights = np.array([[np.nan, 0.5, 0.2], [np.nan, np.nan, 1.0], [np.nan] * 3])
>>> compute(weights, score="hub").round(3)
array([0.208, 0.792, 0.   ])
>>> compute(weights, score="authority").round(3)
array([0.   , 0.111, 0.889])
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from cntbench.metrics._base import Array, Metric, divide
from cntbench.metrics._batches import batched
from cntbench.plugins import Variant

Score = Literal["hub", "authority"]

METRIC = Metric(per="source", lower=0, upper=1, degree=0, null="layer_pairs")

VARIANTS = {
    "authorities": Variant(
        "Authority score: high for components that good hubs influence.",
        {"score": "authority"},
        {"METRIC": replace(METRIC, per="target")},
    ),
    "hubs": Variant(
        "Hub score: high for components that influence good authorities.",
        {"score": "hub"},
        {"METRIC": replace(METRIC, needs=("authorities",))},
    ),
}

#: Squarings of the iteration's matrix: 2 ** 16 iterations, which start from equal scores.
SQUARINGS = 16
#: Squarings before the matrix is scaled again. A trace of 1 stays above n ** -15 for n components.
AT_ONCE = 4


def compute(weights: Array, *, score: Score, authorities: Array | None = None) -> Array:
    """Return every component's score; hub scores follow from the authority scores."""
    authorities = _authorities(weights) if authorities is None else authorities
    if score == "authority":
        return authorities
    return _to_unit_sum(np.matmul(_scaled(weights), authorities[..., None])[..., 0])  # h = W a


def reference(graph: nx.DiGraph, *, score: Score) -> dict[object, float]:
    """Compute the score from the eigenvectors of WᵀW."""
    weights: NDArray[np.float64] = nx.to_numpy_array(graph, weight="weight")
    values, vectors = np.linalg.eigh(weights.T @ weights)
    if not weights.any():
        return dict.fromkeys(graph, 0.0)
    power = np.clip(values / values[-1], 0, 1) ** (2**SQUARINGS)
    authority = (vectors * power) @ vectors.sum(axis=0)
    scores = weights @ authority if score == "hub" else authority
    return dict(zip(graph, (scores / scores.sum()).tolist(), strict=True))


def _authorities(weights: Array) -> Array:
    """Return a = (WᵀW)^N 1 with N = 2 ** SQUARINGS, scaled to a sum of 1.

    If several parts of a graph are equally strong, all have scores. 0 for graphs without weight.
    """
    receives = ~np.isnan(weights).all(axis=tuple(range(weights.ndim - 1)))

    def batch_authorities(batch: Array) -> Array:
        scaled = _scaled(batch)
        scores = np.zeros(scaled.shape[:-1])
        scaled = scaled[..., receives]
        power = _to_unit_trace(np.matmul(scaled.swapaxes(-2, -1), scaled))
        for _ in range(SQUARINGS // AT_ONCE):
            previous = power
            for _ in range(AT_ONCE):
                power = np.matmul(power, power)
            power = _to_unit_trace(power)
            if np.abs(power - previous).max(initial=0) < np.finfo(float).eps:
                break
        scores[..., receives] = power.sum(axis=-1)
        return _to_unit_sum(scores)

    return batched(batch_authorities, weights)


def _scaled(weights: Array) -> Array:
    filled = np.where(np.isnan(weights), 0, weights)
    flat = filled.reshape(*filled.shape[:-2], -1)  # a maximum over two dims is slow
    return divide(filled, flat.max(axis=-1, initial=0)[..., None, None], 0.0)


def _to_unit_trace(matrix: Array) -> Array:
    return divide(matrix, np.trace(matrix, axis1=-2, axis2=-1)[..., None, None], 0.0)


def _to_unit_sum(values: Array) -> Array:
    return divide(values, values.sum(axis=-1, keepdims=True), 0.0)
