"""Metrics against their references, and on a whole film, null draws and a large graph.

The opponent is the metric's reference: networkx, or a plain loop.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from support.metrics import METRICS, by_reference, computed

from benchmarks.films import CHECKPOINTS, study_film
from benchmarks.timing import cost, ratio, turns
from benchmarks.workloads import NANO
from cntbench.components import components, feasible
from cntbench.metrics._film import film_metrics
from cntbench.metrics._graphs import Graphs
from cntbench.plugins import Plugin, room
from cntbench.results.film import usable

#: Checkpoints for the references, some of which are slow.
FEW = 12


def lognormal(layers: int, heads: int, *leading: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random weights of a model, and its layers."""
    nodes = components(layers, heads, parallel=True)
    drawn = np.random.default_rng(0).lognormal(-1, 1, (*leading, len(nodes), len(nodes)))
    return np.where(feasible(nodes), drawn, np.nan), np.array([node.layer for node in nodes])


@pytest.mark.parametrize("plugin", METRICS, ids=[plugin.name for plugin in METRICS])
def test_metrics_beside_their_references(plugin: Plugin, benchmark):
    films = 64
    weights, layer = lognormal(NANO.layers, NANO.heads, films, FEW)
    step = np.arange(FEW) * 8

    def opponent():
        return by_reference(plugin, weights[0], step, layer)

    def vectorised():
        return computed(plugin, weights, step, layer)

    np.testing.assert_allclose(vectorised()[0], opponent(), rtol=1e-6, atol=1e-9)
    contenders = {"vectorised": vectorised, "opponent": opponent}
    seconds = turns(contenders, rounds=5, clock=time.process_time, least=20 / films)
    faster = films * ratio(seconds["vectorised"], seconds["opponent"])
    benchmark.extra_info |= {"opponent": "networkx or a loop, graph by graph", "ratio": faster}
    benchmark.pedantic(vectorised, rounds=1)
    assert faster >= 20


def test_all_metrics_of_a_film(full, record_property):
    film = study_film(full)
    result = film_metrics(film["influence"], usable(film))
    assert set(result) == set(room("metric"))
    assert result["gini"].notnull().all()
    limit = 12 if full else 0.6
    spent = cost(lambda: film_metrics(film["influence"], usable(film)), rounds=3, limit=limit)
    cells = film.sizes["task"] * film.sizes["ablation"]
    record_property("race", f"all metrics of {cells} cells: {spent}")
    assert spent.yardsticks < limit


def test_metrics_of_null_models_draws(record_property):
    weights, layer = lognormal(NANO.layers, NANO.heads, 10, CHECKPOINTS)
    step = np.arange(CHECKPOINTS) * 8
    names = [plugin.name for plugin in METRICS if plugin.module.METRIC.null]

    def all_that_have_a_null() -> None:
        graphs = Graphs(weights, step=step, layer=layer)
        for name in names:
            graphs.metric(name)

    spent = cost(all_that_have_a_null, rounds=3, limit=4)
    record_property("race", f"metrics of 10 draws of a film: {spent}")
    assert spent.yardsticks < 4


def test_all_metrics_of_a_large_graph(record_property):
    weights, layer = lognormal(30, 10, 2)
    assert weights.shape[-1] == 330
    result: dict[str, np.ndarray] = {}

    def every() -> None:
        graphs = Graphs(weights, step=np.array([0, 8]), layer=layer)
        result.update({plugin.name: graphs.metric(plugin.name) for plugin in METRICS})

    spent = cost(every, rounds=2, limit=13)
    for plugin in METRICS:
        if not plugin.module.METRIC.undefined:
            later = (
                result[plugin.name][1:, :1]
                if plugin.module.METRIC.per == "lag"
                else result[plugin.name][1:]
            )
            assert not np.isnan(later).any(), plugin.name
    record_property("race", f"all metrics of two graphs of 330 components: {spent}")
    assert spent.yardsticks < 13
