"""The common checks of every metric: range, relabelling, scaling, reference, edge cases."""

from __future__ import annotations

import doctest
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.films import random_film
from support.graphs import to_graph

from cntbench.components import components, feasible
from cntbench.metrics._film import film_metrics
from cntbench.plugins import Plugin, room

METRICS = list(room("metric").values())
every_metric = pytest.mark.parametrize("plugin", METRICS, ids=[p.name for p in METRICS])
HOMOGENEOUS = [p for p in METRICS if p.module.METRIC.degree is not None]
every_homogeneous_metric = pytest.mark.parametrize(
    "plugin", HOMOGENEOUS, ids=[p.name for p in HOMOGENEOUS]
)

weight = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


@st.composite
def films(draw: st.DrawFn) -> np.ndarray:
    """Weights with dims checkpoint, source, target; NaN where not feasible."""
    layers, heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    nodes = components(layers, heads, parallel=draw(st.booleans()))
    shape = (draw(st.integers(2, 3)), len(nodes), len(nodes))
    values = draw(hnp.arrays(np.float64, shape, elements=weight))
    return np.where(feasible(nodes), values, np.nan)


def by_reference(plugin: Plugin, weights: np.ndarray) -> np.ndarray:
    """The metric of a film by its reference, graph by graph."""
    metric, reference = plugin.module.METRIC, plugin.module.reference
    graphs = [to_graph(moment) for moment in weights]
    if metric.per == "transition":
        pairs = itertools.pairwise(graphs)
        return np.array([np.nan, *(reference(a, b) for a, b in pairs)])
    if metric.per == "graph":
        return np.array([reference(graph) for graph in graphs])
    found = [reference(graph) for graph in graphs]
    return np.array([[values[node] for node in range(weights.shape[-1])] for values in found])


def node_axis(plugin: Plugin) -> bool:
    return plugin.module.METRIC.per in ("source", "target")


@every_metric
@given(weights=films())
def test_agrees_with_its_reference_and_keeps_its_range(plugin: Plugin, weights: np.ndarray):
    found = plugin.module.compute(weights)
    np.testing.assert_allclose(found, by_reference(plugin, weights), rtol=1e-9, atol=1e-12)
    metric = plugin.module.METRIC
    defined = found[~np.isnan(found)]
    assert (defined >= metric.lower - 1e-9).all()
    assert (defined <= metric.upper + 1e-9).all()


@every_metric
@given(weights=films(), data=st.data())
def test_relabelling_permutes_it(plugin: Plugin, weights: np.ndarray, data: st.DataObject):
    order = np.array(data.draw(st.permutations(range(weights.shape[-1]))))
    found = plugin.module.compute(weights)
    relabelled = plugin.module.compute(weights[:, order][:, :, order])
    expected = found[:, order] if node_axis(plugin) else found
    np.testing.assert_allclose(relabelled, expected, rtol=1e-9, atol=1e-12)


@every_homogeneous_metric
@given(weights=films(), factor=st.floats(0.1, 10))
def test_scales_as_declared(plugin: Plugin, weights: np.ndarray, factor: float):
    degree = plugin.module.METRIC.degree
    found, scaled = plugin.module.compute(weights), plugin.module.compute(weights * factor)
    np.testing.assert_allclose(scaled, found * factor**degree, rtol=1e-9, atol=1e-12)


@every_metric
@pytest.mark.parametrize("case", ["no edge", "zero weights", "single edge", "complete", "constant"])
def test_is_defined_on_special_graphs_without_warnings(plugin: Plugin, case: str):
    nodes = components(3, 2, parallel=True)
    allowed = feasible(nodes)
    weights = np.full((2, len(nodes), len(nodes)), np.nan)
    if case == "zero weights":
        weights[:, allowed] = 0
    elif case == "single edge":
        weights[:, 0, -1] = 0.3
    elif case == "complete":
        weights[:, allowed] = np.random.default_rng(0).random((2, allowed.sum()))
    elif case == "constant":
        weights[:, allowed] = 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = plugin.module.compute(weights)
    np.testing.assert_allclose(found, by_reference(plugin, weights), rtol=1e-9, atol=1e-12)
    if case not in ("no edge",):
        assert not np.isnan(found[1:]).any()


@every_metric
def test_leading_dims_are_kept(plugin: Plugin):
    rng = np.random.default_rng(0)
    nodes = components(2, 2, parallel=True)
    weights = np.where(feasible(nodes), rng.random((2, 3, 4, len(nodes), len(nodes))), np.nan)
    found = plugin.module.compute(weights)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(found[i, j], plugin.module.compute(weights[i, j]))


@every_metric
def test_examples_in_the_docstring(plugin: Plugin):
    assert doctest.testmod(plugin.module).attempted > 0
    assert doctest.testmod(plugin.module).failed == 0


def test_checkpoints_that_do_not_count_are_gaps_and_are_stepped_over():
    film = random_film(names=["step0", "step1", "step2", "step3"])
    counted = np.array([True, False, True, True])
    whole = film_metrics(film["influence"], counted)
    kept = film_metrics(film["influence"].isel(checkpoint=counted), np.ones(3, dtype=bool))
    for name in whole:
        assert whole[name].isel(checkpoint=1).isnull().all()
        np.testing.assert_array_equal(whole[name].isel(checkpoint=counted), kept[name])
