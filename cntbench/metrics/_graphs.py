"""Graphs of one architecture and their metrics, and whether what metrics name exists."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.errors import Named, PluginError, SpecError, unknown
from cntbench.metrics._base import DIMS, LAGS, Array, Direction, Metric
from cntbench.metrics._layers import ranked_strengths
from cntbench.metrics._paths import distances
from cntbench.metrics.backbones._base import backbone

#: What a metric may need besides other metrics: a backbone, or an attribute of `Graphs`.
INPUTS = ("step", "layer", "distance", "ranked_strengths", "backbone")


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
        self._metrics: dict[str, Array] = {}
        self._ranked: dict[Direction, Array] = {}

    def metric(self, name: str) -> Array:
        """Return a metric, with the dims that `cntbench.metrics` lists.

        Raises
        ------
        SpecError
            If there is no such metric; it names the nearest match.
        PluginError
            If it does not return a number for each of what it is per, or is not finite on a graph
            with edges and does not declare where it is undefined.
        """
        if name not in self._metrics:
            module = plugins.find("metric", name)
            inputs = {need: self._input(need, module.METRIC) for need in module.METRIC.needs}
            values = np.asarray(module.compute(self.weights, **inputs))
            self._check_form(name, module.METRIC, values)
            self._check_defined(name, module.METRIC, values)
            self._metrics[name] = values
        return self._metrics[name]

    def _check_form(self, name: str, metric: Metric, values: Array) -> None:
        sizes = {
            "checkpoint": self.weights.shape[-3],
            "layer": len(np.unique(self.layer)),
            "lag": len(LAGS),
            "other_checkpoint": self.weights.shape[-3],
        }
        dims = DIMS[metric.per]
        shape = (*self.weights.shape[:-3], *(sizes.get(dim, len(self.layer)) for dim in dims))
        if values.shape != shape or values.dtype.kind not in "biuf":
            raise PluginError(
                f"metric {name!r} has the shape {values.shape} of {values.dtype}; per "
                f"{metric.per!r} it has to be …, {', '.join(dims)}, here {shape}, of numbers",
                where=str(plugins.room("metric")[name].path),
            )

    def _check_defined(self, name: str, metric: Metric, values: Array) -> None:
        if metric.over_time or metric.undefined is not None or np.isfinite(values).all():
            return
        of_graphs = tuple(range(self.weights.ndim - 2, values.ndim))
        undefined = ~np.isfinite(values).all(axis=of_graphs)
        bad = np.asarray(undefined & ~np.isnan(self.weights).all(axis=(-2, -1)))
        if bad.any():
            raise PluginError(
                f"metric {name!r} is NaN or infinite on {bad.sum()} of {bad.size} graphs",
                where=str(plugins.room("metric")[name].path),
                hint="If it is undefined there, METRIC.undefined has to say where and why.",
            )

    def _input(self, need: str, metric: Metric) -> Any:
        if need == "backbone":
            return self.backbone(str(metric.backbone))
        if need in plugins.room("metric"):
            return self.metric(need)
        if need not in INPUTS:
            raise unknown("need of a metric", need, [*INPUTS, *plugins.room("metric")])
        return getattr(self, need)

    @cached_property
    def distance(self) -> Array:
        """Lengths of the shortest paths, dims ``…, checkpoint, source, target``."""
        return distances(self.weights)

    def ranked_strengths(self, direction: Direction) -> Array:
        """Return what `cntbench.metrics._layers.ranked_strengths` does."""
        if direction not in self._ranked:
            self._ranked[direction] = ranked_strengths(self.weights, self.layer, direction)
        return self._ranked[direction]

    def backbone(self, name: str) -> NDArray[np.bool_]:
        """Return whether a backbone keeps each edge, dims ``…, checkpoint, source, target``."""
        if name not in self._backbones:
            self._backbones[name] = backbone(name).rule.keep(self.weights)
        return self._backbones[name]


def wrong_names(metrics: Named[plugins.Plugin]) -> Mapping[str, SpecError]:
    """Return the errors of metrics whose ``METRIC`` names something that does not exist, by name.

    An error names the metric's file and the nearest match.
    """
    errors = {}
    for name, plugin in metrics.items():
        try:
            _check(plugin, metrics)
        except SpecError as error:
            errors[name] = error
    needs = {name: {*plugin.module.METRIC.needs} for name, plugin in metrics.items()}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        name, *others = error.args[1]
        what = f"metrics need each other: {' → '.join([name, *others])}"
        errors[name] = SpecError(what, where=f"{metrics[name].path}: METRIC.needs")
    return errors


def check_names(metrics: Named[plugins.Plugin]) -> None:
    """Raise the first of the errors of `wrong_names`."""
    for error in wrong_names(metrics).values():
        raise error


def _check(plugin: plugins.Plugin, metrics: Named[plugins.Plugin]) -> None:
    metric, where = plugin.module.METRIC, f"{plugin.path}: METRIC"
    if metric.null is not None:
        plugins.find("null model", metric.null, where=where)
    if metric.backbone is not None:
        backbone(metric.backbone, where=f"{where}.backbone")
    elif "backbone" in metric.needs:
        what = "needs a backbone, and names none"
        raise SpecError(what, where=f"{where}.backbone", hint='Add backbone="disparity".')
    for need in metric.needs:
        if need not in INPUTS and need not in metrics:
            allowed = Named({**dict.fromkeys(INPUTS), **metrics}, metrics.broken)
            raise unknown("need of a metric", need, allowed, where=f"{where}.needs")
