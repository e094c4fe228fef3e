"""Metrics of a film beside what a null model gives: z-scores and empirical p-values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.nulls._draws import batches
from cntbench.metrics._base import Metric
from cntbench.metrics._graphs import Graphs
from cntbench.metrics._ties import TIE

#: What is said of every value of a metric.
STATISTICS = {
    "mean": "mean over the draws of the null model",
    "standard_deviation": "standard deviation over the draws of the null model",
    "z_score": "the metric minus that mean, over that standard deviation",
    "p_value": "(1 + draws that lie at least as far from the mean as the metric does) / "
    "(1 + draws), the mean being over draws and metric: two-sided, not corrected for the number of "
    "values",
}

#: Edges, feasible or not, that are drawn from a null model for one task by one ablation. Of films
#: with more, some checkpoints only are held against it, evenly spaced, and at least so many.
EDGES = 2**25
FEWEST = 3


def moments(checkpoints: int, size: int, draws: int) -> NDArray[np.int64]:
    """Return at which checkpoints a film is held against null models.

    Parameters
    ----------
    checkpoints
        How many there are.
    size
        Edges of each graph, feasible or not.
    draws
        Number of draws from each null model.
    """
    count = max(FEWEST, EDGES // max(draws * size, 1))
    if count >= checkpoints:
        return np.arange(checkpoints)
    return np.unique(np.linspace(0, checkpoints - 1, count).round().astype(np.int64))


def null_summary(
    film: Film, null: str, names: Sequence[str], rng: np.random.Generator, draws: int
) -> dict[str, NDArray[np.float32]]:
    """Hold metrics against a null model.

    Parameters
    ----------
    film
        What the metrics are computed of.
    null
        A file of ``cntbench/dynamics/nulls``.
    names
        Metrics, either all or none of them over time.
    rng, draws
        Source of chance, and number of draws.

    Returns
    -------
    dict
        By metric, dims ``statistic`` as in `STATISTICS`, then those of the metric, with NaN at
        checkpoints that are not among `moments` unless the metrics are over time.
    """
    observed = _graphs(film, film.weights)
    values = {name: observed.metric(name) for name in names}
    found = {name: np.full((len(STATISTICS), *values[name].shape), np.nan) for name in names}
    over_time = any(_metric(name).over_time for name in names)
    size = len(film.names) ** 2
    at = np.arange(len(film)) if over_time else moments(len(film), size, draws)
    drawn: dict[str, list[NDArray[np.floating]]] = {name: [] for name in names}
    for weights in _draws(film.take(at), null, rng, draws):
        graphs = _graphs(film.take(at[: weights.shape[1]]), weights)
        for name in names:
            drawn[name].append(graphs.metric(name))
    for name in names:
        if drawn[name]:
            found[name][:, at] = judged(values[name][at], np.concatenate(drawn[name]))
    return {name: statistics.astype(np.float32) for name, statistics in found.items()}


def judged(value: NDArray[np.floating], drawn: NDArray[np.floating]) -> Array:
    """Return `STATISTICS` of every value, as the first dim.

    NaN where there is no draw, or no value; z-score and p-value also where all draws are equal but
    for rounding. Draws in which the metric is undefined do not count.

    Parameters
    ----------
    value
        Any dims.
    drawn
        Dims ``draw``, then those of ``value``, or 1 for those along which draws are alike.
    """
    defined = ~np.isnan(drawn)
    count = np.broadcast_to(defined.sum(axis=0), value.shape)
    filled = np.where(defined, drawn, 0.0)
    size = np.abs(filled).max(axis=0, initial=0.0)
    mean = _divide(filled.sum(axis=0), count)
    squares = np.where(defined, (drawn - mean) ** 2, 0.0).sum(axis=0)
    highest = np.where(defined, drawn, -np.inf).max(axis=0, initial=-np.inf)
    lowest = np.where(defined, drawn, np.inf).min(axis=0, initial=np.inf)
    varies = np.broadcast_to(highest - lowest > TIE * size, value.shape)
    deviation = np.where(varies, np.sqrt(_divide(squares, count - 1)), np.where(count, 0.0, np.nan))
    centre = (filled.sum(axis=0) + value) / (count + 1)
    slack = TIE * np.maximum(size, np.abs(value))
    far = np.abs(drawn - centre) >= np.abs(value - centre) - slack
    p_value = (1 + far.sum(axis=0)) / (1 + count)
    testable = varies & ~np.isnan(value)
    return np.stack(
        [
            np.where(np.isnan(value), np.nan, mean),
            np.where(np.isnan(value), np.nan, deviation),
            np.where(testable, _divide(value - mean, deviation), np.nan),
            np.where(testable, p_value, np.nan),
        ]
    )


def _draws(film: Film, null: str, rng: np.random.Generator, draws: int) -> Iterator[Array]:
    """Yield draws, dims ``draw, checkpoint, source, target``, few at a time."""
    module = plugins.find("null model", null)
    if hasattr(module, "everything"):
        everything = module.everything(film)[:draws]
        if len(everything) and len(film):
            yield everything
        return
    for some in batches(film, draws):
        yield module.draw(film, rng, some.stop - some.start)


def _graphs(film: Film, weights: Array) -> Graphs:
    return Graphs(weights, step=film.step, layer=film.layer)


def _metric(name: str) -> Metric:
    metric: Metric = plugins.find("metric", name).METRIC
    return metric


def _divide(number: Array, by: Array) -> Array:
    found = np.full(np.broadcast_shapes(np.shape(number), np.shape(by)), np.nan)
    return np.divide(number, by, out=found, where=by > 0)
