"""Files that each add one thing: their docstrings, and the parameters they accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cntbench.metrics._base import DIMS, Metric
from cntbench.plugins import ROOMS, Plugin, room
from generate.markdown import code, prose, table
from generate.specs import keys


def sections(kind: str) -> str:
    """Return a section for each file of a room."""
    return "\n".join(section(plugin) for plugin in room(kind).values())


def section(plugin: Plugin) -> str:
    """Return a file's name, docstring and parameters."""
    first, rest = prose(plugin.module.__doc__)
    parts = [f"### `{plugin.name}`", first, rest]
    if isinstance(metric := getattr(plugin.module, "METRIC", None), Metric):
        parts.append(declared(metric))
    parameters = getattr(plugin.module, "Parameters", None)
    if parameters is not None:
        parts.append(keys(parameters))
        parts.append(_statistic(parameters))
    if (allowed := getattr(plugin.module, "RANGE", None)) is not None:
        parts.append(f"Range: {_range(*allowed)}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def declared(metric: Metric) -> str:
    """Return what a metric declares, as sentences."""
    sentences = [
        f"Dims after task and ablation: {', '.join(DIMS[metric.per])}.",
        f"Range: {_range(metric.lower, metric.upper)}.",
        f"Null model: {code(metric.null)}." if metric.null else "No null model.",
    ]
    if metric.degree is not None:
        sentences.append(f"Degree of homogeneity: {metric.degree}.")
    if metric.backbone:
        sentences.append(f"Backbone: {code(metric.backbone)}.")
    if metric.undefined:
        sentences.append(f"Undefined: {metric.undefined}.")
    return " ".join(sentences)


def _range(lower: float, upper: float) -> str:
    low, high = (f"{end:g}".replace("inf", "∞").replace("-", "−") for end in (lower, upper))
    return f"{low} to {high}"


def _statistic(parameters: Any) -> str:
    own = getattr(parameters, "own_nulls", None)
    units = getattr(parameters, "units", None)
    sentences = [f"Units: {units}."] if isinstance(units, str) else []
    if isinstance(own, dict) and own:
        sentences.append(f"Null models of its own: {code(*own)}.")
    return " ".join(sentences)


def metrics() -> str:
    """Return a table of all metrics."""
    rows = []
    for name, plugin in room("metric").items():
        metric: Metric = plugin.module.METRIC
        rows.append(
            [
                code(name),
                plugin.summary,
                metric.per,
                _range(metric.lower, metric.upper),
                code(metric.null) if metric.null else "",
            ]
        )
    return table(["metric", "summary", "of a", "range", "null model"], rows)


def _of(kind: str) -> Callable[[], str]:
    return lambda: sections(kind)


GENERATED: dict[str, Callable[[], str]] = {
    "table of metrics": metrics,
    **{f"every {kind}": _of(kind) for kind in ROOMS},
}
