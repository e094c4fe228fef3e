"""Checks that what metrics name exists: null models, backbones, other metrics."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from cntbench.errors import Named, SpecError, unknown
from cntbench.metrics._graphs import INPUTS
from cntbench.metrics.backbones._base import backbone
from cntbench.plugins import Plugin, find


def wrong_names(metrics: Named[Plugin]) -> Mapping[str, SpecError]:
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


def check_names(metrics: Named[Plugin]) -> None:
    """Raise the first of the errors of `wrong_names`."""
    for error in wrong_names(metrics).values():
        raise error


def _check(plugin: Plugin, metrics: Named[Plugin]) -> None:
    metric, where = plugin.module.METRIC, f"{plugin.path}: METRIC"
    if metric.null is not None:
        find("null model", metric.null, where=where)
    if metric.backbone is not None:
        backbone(metric.backbone, where=f"{where}.backbone")
    elif "backbone" in metric.needs:
        what = "needs a backbone, and names none"
        raise SpecError(what, where=f"{where}.backbone", hint='Add backbone="disparity".')
    for need in metric.needs:
        if need not in INPUTS and need not in metrics:
            allowed = Named({**dict.fromkeys(INPUTS), **metrics}, metrics.broken)
            raise unknown("need of a metric", need, allowed, where=f"{where}.needs")
