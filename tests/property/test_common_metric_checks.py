"""The common checks of every metric: range, relabelling, scaling, reference, edge cases."""

from __future__ import annotations

import doctest
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.films import random_film
from support.metrics import METRICS, by_reference, computed, node_axis

from cntbench.components import components, feasible
from cntbench.metrics._base import DIMS
from cntbench.metrics._film import film_metrics
from cntbench.metrics.backbones._base import backbone
from cntbench.plugins import Plugin, room

every_metric = pytest.mark.parametrize("plugin", METRICS, ids=[p.name for p in METRICS])
HOMOGENEOUS = [p for p in METRICS if p.module.METRIC.degree is not None]
every_homogeneous_metric = pytest.mark.parametrize(
    "plugin", HOMOGENEOUS, ids=[p.name for p in HOMOGENEOUS]
)

weight = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


@dataclass(frozen=True)
class Case:
    """Weights with dims checkpoint, source, target, NaN where not feasible; steps and layers."""

    weights: np.ndarray
    step: np.ndarray
    layer: np.ndarray

    def compute(self, plugin: Plugin) -> np.ndarray:
        return computed(plugin, self.weights, self.step, self.layer)

    def by_reference(self, plugin: Plugin) -> np.ndarray:
        return by_reference(plugin, self.weights, self.step, self.layer)


@st.composite
def films(draw: st.DrawFn) -> Case:
    """A short film."""
    layers, heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    nodes = components(layers, heads, parallel=draw(st.booleans()))
    shape = (draw(st.integers(2, 3)), len(nodes), len(nodes))
    values = draw(hnp.arrays(np.float64, shape, elements=weight))
    steps = draw(st.lists(st.integers(0, 10**6), min_size=shape[0], max_size=shape[0], unique=True))
    return Case(
        np.where(feasible(nodes), values, np.nan),
        np.array(sorted(steps)),
        np.array([node.layer for node in nodes]),
    )


def special(case: str) -> Case:
    """A film of two graphs of a special kind."""
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
    return Case(weights, np.array([0, 8]), np.array([node.layer for node in nodes]))


@every_metric
@given(case=films())
def test_agrees_with_its_reference_and_keeps_its_range(plugin: Plugin, case: Case):
    values = case.compute(plugin)
    np.testing.assert_allclose(values, case.by_reference(plugin), rtol=1e-9, atol=1e-12)
    metric = plugin.module.METRIC
    defined = values[~np.isnan(values)]
    assert (defined >= metric.lower - 1e-9).all()
    assert (defined <= metric.upper + 1e-9).all()


@every_metric
@given(case=films(), data=st.data())
def test_relabelling_permutes_it(plugin: Plugin, case: Case, data: st.DataObject):
    order = np.array(data.draw(st.permutations(range(len(case.layer)))))
    relabelled = Case(case.weights[:, order][:, :, order], case.step, case.layer[order])
    expected = case.compute(plugin)
    axis = node_axis(plugin.module.METRIC)
    if axis is not None:
        expected = expected.take(order, axis=axis)
    np.testing.assert_allclose(relabelled.compute(plugin), expected, rtol=1e-9, atol=1e-12)


@every_homogeneous_metric
@given(case=films(), factor=st.floats(0.1, 10))
def test_scales_as_declared(plugin: Plugin, case: Case, factor: float):
    degree = plugin.module.METRIC.degree
    scaled = Case(case.weights * factor, case.step, case.layer)
    expected = case.compute(plugin) * factor**degree
    np.testing.assert_allclose(scaled.compute(plugin), expected, rtol=1e-9, atol=1e-12)


@every_metric
@pytest.mark.parametrize("kind", ["no edge", "zero weights", "single edge", "complete", "constant"])
def test_is_defined_on_special_graphs_without_warnings(plugin: Plugin, kind: str):
    case = special(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = case.compute(plugin)
    np.testing.assert_allclose(values, case.by_reference(plugin), rtol=1e-9, atol=1e-12)
    metric = plugin.module.METRIC
    later = values[1:, :1] if metric.per == "lag" else values[1:]  # what two checkpoints allow
    if kind == "complete":
        assert not np.isnan(later).all()
    if kind != "no edge" and not metric.undefined:
        assert not np.isnan(later).any()


@every_metric
def test_leading_dims_are_kept(plugin: Plugin):
    rng = np.random.default_rng(0)
    nodes = components(3, 2, parallel=True)
    weights = np.where(feasible(nodes), rng.random((2, 3, 4, len(nodes), len(nodes))), np.nan)
    step, layer = np.array([0, 1, 4, 9]), np.array([node.layer for node in nodes])
    values = computed(plugin, weights, step, layer)
    for i in range(2):
        for j in range(3):
            alone = computed(plugin, weights[i, j], step, layer)
            np.testing.assert_allclose(values[i, j], alone, rtol=1e-12, atol=1e-15)


@every_metric
def test_examples_in_the_docstring(plugin: Plugin):
    assert doctest.testmod(plugin.module).attempted > 0
    assert doctest.testmod(plugin.module).failed == 0


@every_metric
def test_what_it_declares_exists(plugin: Plugin):
    metric = plugin.module.METRIC
    assert ("backbone" in metric.needs) == bool(metric.backbone)
    if metric.backbone:
        assert backbone(metric.backbone).name == metric.backbone
    if metric.null:
        assert metric.null in room("null model")


def test_checkpoints_that_do_not_count_are_gaps_and_are_stepped_over():
    film = random_film(names=["step0", "step1", "step2", "step3"])
    counted = np.array([True, False, True, True])
    whole = film_metrics(film["influence"], counted)
    kept = film_metrics(film["influence"].isel(checkpoint=counted), np.ones(3, dtype=bool))
    for name in whole:
        at = [dim for dim in whole[name].dims if str(dim).endswith("checkpoint")]
        for dim in at:
            assert whole[name].isel({dim: 1}).isnull().all()
        without = whole[name].isel(dict.fromkeys(at, counted))
        np.testing.assert_array_equal(without, kept[name])


def test_a_film_without_a_checkpoint_that_counts_is_all_gaps():
    film = random_film()
    metrics = film_metrics(film["influence"], np.zeros(3, dtype=bool))
    assert set(metrics) == {plugin.name for plugin in METRICS}
    assert all(metrics[name].isnull().all() for name in metrics)


def test_a_film_has_the_dims_and_labels_of_what_its_metrics_are_about():
    film = random_film()
    metrics = film_metrics(film["influence"], np.ones(3, dtype=bool))
    assert set(metrics) == {plugin.name for plugin in METRICS}
    for plugin in METRICS:
        dims = ("task", "ablation", *DIMS[plugin.module.METRIC.per])
        assert metrics[plugin.name].dims == dims
        assert metrics[plugin.name].attrs["comment"] == plugin.summary
