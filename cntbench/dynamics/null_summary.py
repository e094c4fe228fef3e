"""The group ``nulls`` of a result: metrics compared with a null model, as z-scores and p-values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.dynamics.film import Array, Cell, Film, fill_cells
from cntbench.dynamics.nulls._draws import drawn_batches
from cntbench.files.attributes import described
from cntbench.metrics._base import TIE, Metric, divide
from cntbench.metrics._batches import BATCH_BYTES, with_graphs_last
from cntbench.metrics._graphs import Graphs

#: What the group holds about every value of a metric.
STATISTICS = {
    "mean": "mean over the draws of the null model",
    "standard_deviation": "standard deviation over the draws of the null model",
    "z_score": "the metric minus that mean, over that standard deviation",
    "p_value": "(1 + draws that lie at least as far from the mean as the metric does) / "
    "(1 + draws), the mean being over draws and metric: two-sided, not corrected for the number of "
    "values",
}

#: Largest number of edges, feasible or not, drawn from a null model for one task and one ablation.
#: Larger films are compared at evenly spaced checkpoints only, but at no fewer than `FEWEST`.
EDGES = 2**25
FEWEST = 3


def compared_checkpoints(checkpoints: int, size: int, draws: int) -> NDArray[np.int64]:
    """Return the checkpoints at which a film is compared with null models.

    ``size`` is the number of edges of each graph, feasible or not.
    """
    count = max(FEWEST, EDGES // max(draws * size, 1))
    if count >= checkpoints:
        return np.arange(checkpoints)
    return np.unique(np.linspace(0, checkpoints - 1, count).round().astype(np.int64))


def null_summary(
    film: Film, null: str, names: Sequence[str], rng: np.random.Generator, draws: int
) -> dict[str, NDArray[np.float32]]:
    """Compare metrics with a null model.

    Parameters
    ----------
    names
        Metrics; either all of them or none are over time.

    Returns
    -------
    dict
        By metric, dims ``statistic`` as in `STATISTICS`, then those of the metric. Metrics that are
        not over time are NaN at checkpoints that are not `compared_checkpoints`.
    """
    observed = _graphs(film, film.weights)
    values = {name: observed.metric(name) for name in names}
    summary = {name: np.full((len(STATISTICS), *values[name].shape), np.nan) for name in names}
    over_time = any(plugins.find("metric", name).METRIC.over_time for name in names)
    size = len(film.names) ** 2
    at = np.arange(len(film)) if over_time else compared_checkpoints(len(film), size, draws)
    drawn: dict[str, list[NDArray[np.floating]]] = {name: [] for name in names}
    for batch in drawn_batches(film.take(at), null, rng, draws):
        at_once = max(1, BATCH_BYTES // max(1, batch[0].nbytes))
        for first in range(0, len(batch), at_once):
            weights = batch[first : first + at_once]
            graphs = _graphs(film.take(at[: weights.shape[1]]), weights)
            for name in names:
                drawn[name].append(graphs.metric(name))
    for name in names:
        if drawn[name]:
            summary[name][:, at] = null_statistics(values[name][at], np.concatenate(drawn[name]))
    return {name: statistics.astype(np.float32) for name, statistics in summary.items()}


def null_statistics(value: NDArray[np.floating], drawn: NDArray[np.floating]) -> Array:
    """Return `STATISTICS` of every value, as the first dim.

    NaN where there is no draw or no value; the z-score and the p-value also where all draws are
    equal except for rounding. Draws in which the metric is undefined do not count.

    Parameters
    ----------
    value
        Any dims.
    drawn
        Dims ``draw``, then those of ``value``, or size 1 where draws are equal along a dim.
    """
    drawn = drawn.astype(np.float64, copy=False)
    defined = ~np.isnan(drawn)
    count = np.broadcast_to(defined.sum(axis=0), value.shape)
    filled = drawn if defined.all() else np.where(defined, drawn, 0.0)
    total = filled.sum(axis=0)
    mean = divide(total, count)
    squares = np.square(filled - np.where(defined, mean, 0.0)).sum(axis=0)
    highest = np.fmax.reduce(drawn, axis=0, initial=-np.inf)
    lowest = np.fmin.reduce(drawn, axis=0, initial=np.inf)
    size = np.where(count > 0, np.maximum(highest, -lowest), 0.0)
    varies = np.broadcast_to(highest - lowest > TIE * size, value.shape)
    deviation = np.where(varies, np.sqrt(divide(squares, count - 1)), np.where(count, 0.0, np.nan))
    centre = (total + value) / (count + 1)
    slack = TIE * np.maximum(size, np.abs(value))
    far = np.abs(drawn - centre) >= np.abs(value - centre) - slack
    p_value = (1 + far.sum(axis=0)) / (1 + count)
    testable = varies & ~np.isnan(value)
    return np.stack(
        [
            np.where(np.isnan(value), np.nan, mean),
            np.where(np.isnan(value), np.nan, deviation),
            np.where(testable, divide(value - mean, deviation), np.nan),
            np.where(testable, p_value, np.nan),
        ]
    )


def null_group(
    root: xr.Dataset, metrics: xr.Dataset, cells: Sequence[Cell], draws: Mapping[str, int]
) -> xr.Dataset:
    """Return the group ``nulls`` from the `null_summary` of every cell; NaN at other checkpoints.

    ``draws`` is the number of draws by null model.
    """
    variables = {}
    for name, plugin in plugins.room("metric").items():
        metric: Metric = plugin.module.METRIC
        if metric.null is not None:
            shape = (len(STATISTICS), *metrics[name].shape)
            count = draws.get(metric.null, 0)
            variables[name] = xr.Variable(
                ("statistic", *metrics[name].dims),
                np.full(shape, np.nan, dtype=np.float32),
                {
                    **described(name, f"{plugin.summary} Compared with the null model."),
                    "null_model": metric.null,
                    "draws": count,
                    "units": metric.units,
                    "undefined": _undefined(root, metric, count),
                },
            )
    group = fill_cells(variables, root, cells)
    labels = {dim: metrics[dim] for dim in metrics.indexes if dim in group.dims}
    about = described(
        "statistic", "statistic of the draws; units are those of mean and standard deviation"
    )
    labels["statistic"] = xr.DataArray(list(STATISTICS), dims="statistic", attrs=about)
    return group.assign_coords(labels).assign_attrs(STATISTICS)


def _undefined(root: xr.Dataset, metric: Metric, draws: int) -> str:
    if not root["influence"].notnull().any():
        return "everywhere: no checkpoint was measured"
    if not draws and metric.null == "untrained":
        return (
            "everywhere: no untrained models were measured, because the study asks for none or the "
            "trajectory cannot initialise one"
        )
    if not draws:
        return "everywhere: the null model has no draws"
    reason = "z-score and p-value where all draws are equal; everything where the metric is"
    count = root.sizes["checkpoint"]
    compared = len(compared_checkpoints(count, root["influence"][0, 0, 0].size, draws))
    if compared < count and not metric.over_time and metric.null != "untrained":
        reason += (
            f", and at all but {compared} checkpoints, evenly spaced over the usable ones, because "
            "the graphs are large"
        )
    return reason


def _graphs(film: Film, weights: Array) -> Graphs:
    return Graphs(with_graphs_last(weights), step=film.step, layer=film.layer)
