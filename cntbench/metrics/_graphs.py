"""Graphs of one architecture and their metrics."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.metrics._base import Array, Metric
from cntbench.metrics._paths import distances
from cntbench.metrics.backbones._base import backbone


class Graphs:
    """Graphs of one architecture, whose metrics are computed on request.

    What several metrics need is computed once and kept.

    Parameters
    ----------
    weights
        Dims ``…, checkpoint, source, target``; NaN where an edge is not feasible.
    step
        Training steps, rising, dims ``checkpoint``.
    layer
        Layers of the components, dims ``component``.
    """

    def __init__(
        self, weights: Array, *, step: NDArray[np.integer], layer: NDArray[np.integer]
    ) -> None:
        self.weights = weights.astype(np.float64, copy=False)
        self.step = step
        self.layer = layer
        self._backbones: dict[str, NDArray[np.bool_]] = {}

    def metric(self, name: str) -> Array:
        """Return a metric, with the dims that `cntbench.metrics` lists.

        Raises
        ------
        SpecError
            If there is no such metric; it names the nearest match.
        """
        module = plugins.find("metric", name)
        metric: Metric = module.METRIC
        inputs: dict[str, Any] = {
            need: self.backbone(str(metric.backbone)) if need == "backbone" else getattr(self, need)
            for need in metric.needs
        }
        return np.asarray(module.compute(self.weights, **inputs))

    @cached_property
    def distance(self) -> Array:
        """Lengths of the shortest paths, dims ``…, checkpoint, source, target``."""
        return distances(self.weights)

    def backbone(self, name: str) -> NDArray[np.bool_]:
        """Return whether a backbone keeps each edge, dims ``…, checkpoint, source, target``."""
        if name not in self._backbones:
            self._backbones[name] = backbone(name).rule.keep(self.weights)
        return self._backbones[name]
