"""The null summary: closed forms, plain loops, and what is said where there is nothing to say."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.stats import kstest

from cntbench.analysis.calibration.simulated import planted, template
from cntbench.dynamics import null_summary as module
from cntbench.dynamics.null_summary import (
    STATISTICS,
    compared_checkpoints,
    null_statistics,
    null_summary,
)
from cntbench.plugins import room

MEAN, DEVIATION, Z, P = range(4)
SHORT = template(checkpoints=6)


def film_of(seed: int = 0, **changes):
    film = planted(np.random.default_rng(seed), base=SHORT).film
    return dataclasses.replace(film, **changes)


def test_each_statistic_as_a_loop_finds_it():
    rng = np.random.default_rng(0)
    value, drawn = rng.normal(size=(5, 3)), rng.normal(size=(20, 5, 3))
    statistics = null_statistics(value, drawn)
    for i, j in np.ndindex(5, 3):
        draws = drawn[:, i, j]
        centre = np.append(draws, value[i, j]).mean()
        count = sum(abs(x - centre) >= abs(value[i, j] - centre) for x in draws)
        mean, deviation = draws.mean(), draws.std(ddof=1)
        expected = [mean, deviation, (value[i, j] - mean) / deviation, (1 + count) / 21]
        np.testing.assert_allclose(statistics[:, i, j], expected)


def test_mean_and_deviation_of_strengths_under_layer_pairs_are_known_exactly():
    """A strength is a sum over samples without replacement, one from each layer pair."""
    film, draws = film_of(), 4000
    summary = null_summary(film, "layer_pairs", ["out_strength"], np.random.default_rng(1), draws)
    layer, weights = film.layer, film.weights[3]
    for source in np.flatnonzero(layer < 2):
        mean = variance = 0.0
        for other in range(layer[source] + 1, 3):
            block = weights[np.ix_(layer == layer[source], layer == other)]
            own, size = block.shape[1], block.size
            mean += own * block.mean()
            variance += own * block.var(ddof=1) * (1 - own / size)
        message = summary["out_strength"][:, 3, source]
        deviation = np.sqrt(variance)
        assert message[MEAN] == pytest.approx(mean, abs=5 * deviation / np.sqrt(draws))
        assert message[DEVIATION] == pytest.approx(deviation, rel=0.06)
        assert message[Z] == pytest.approx(
            (weights[source, layer > layer[source]].sum() - mean) / deviation, rel=0.07, abs=0.1
        )


def test_p_values_are_uniform_for_a_film_from_the_null_itself():
    film = film_of()
    null = room("null model")["layer_pairs"].module
    results = [
        null_summary(
            film.with_weights(null.draw(film, np.random.default_rng([seed, 1]))),
            "layer_pairs",
            ["efficiency"],
            np.random.default_rng([seed, 2]),
            99,
        )["efficiency"][P, 2]
        for seed in range(200)
    ]
    # Exact p-values are uniform on 1/100 … 1.
    assert kstest(np.array(results) - 0.005, "uniform").pvalue > 1e-3


def test_equal_draws_have_no_z_score_and_no_p_value():
    value, drawn = np.array([0.3, 0.4, np.nan]), np.full((10, 3), 0.3)
    drawn[:, 1] += np.arange(10) * 1e-12  # rounding
    statistics = null_statistics(value, drawn)
    np.testing.assert_allclose(statistics[MEAN], [0.3, 0.3, np.nan])
    np.testing.assert_array_equal(statistics[DEVIATION], [0, 0, np.nan])
    assert np.isnan(statistics[[Z, P]]).all()


def test_equal_values_count_as_far_in_spite_of_rounding():
    drawn = np.array([0.1 + 0.2, 0.25, 0.3, 0.25, 0.25, 0.25])[:, None]
    assert 0.1 + 0.2 != 0.3
    for value in (0.3, 0.1 + 0.2):
        assert null_statistics(np.array([value]), drawn)[P, 0] == (1 + 2) / 7


def test_draws_in_which_the_metric_is_undefined_do_not_count():
    drawn = np.array([1.0, np.nan, 3.0, 2.0])[:, None]
    statistics = null_statistics(np.array([10.0]), drawn)
    np.testing.assert_allclose(statistics[:, 0], [2, 1, 8, 1 / 4])
    assert np.isnan(null_statistics(np.array([1.0]), np.full((3, 1), np.nan))).all()


def test_untrained_models_are_the_draws():
    film = film_of()
    graphs = np.random.default_rng(1).random((5, 15, 15))
    film = dataclasses.replace(film, untrained=np.where(film.feasible, graphs, np.nan))
    gini = room("metric")["gini"].module.compute
    summary = null_summary(film, "untrained", ["gini"], np.random.default_rng(0), 200)["gini"]
    others = gini(film.untrained)
    np.testing.assert_allclose(summary[MEAN], others.mean(), rtol=1e-6)
    np.testing.assert_allclose(summary[DEVIATION], others.std(ddof=1), rtol=1e-6)
    assert summary[P].min() >= np.float32(1 / 6)


def test_without_untrained_models_nothing_is_said():
    summary = null_summary(film_of(), "untrained", ["gini"], np.random.default_rng(0), 200)
    assert np.isnan(summary["gini"]).all()


def test_large_films_are_held_against_nulls_at_some_checkpoints(monkeypatch):
    film = film_of()
    assert list(compared_checkpoints(6, 225, 10)) == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(module, "EDGES", 225 * 10 * 3)
    assert list(compared_checkpoints(6, 225, 10)) == [0, 2, 5]
    assert list(compared_checkpoints(9, 10**6, 10)) == [0, 4, 8]
    assert list(compared_checkpoints(2, 10**6, 10)) == [0, 1]
    summary = null_summary(film, "layer_pairs", ["efficiency"], np.random.default_rng(0), 10)
    defined = ~np.isnan(summary["efficiency"]).any(axis=0)
    assert list(np.flatnonzero(defined)) == [0, 2, 5]
    over_time = null_summary(film, "time_order", ["turnover"], np.random.default_rng(0), 10)
    assert not np.isnan(over_time["turnover"][:, 1:]).any()


@pytest.mark.parametrize("name", [n for n, p in room("metric").items() if p.module.METRIC.null])
def test_every_metric_varies_under_its_null_model(name):
    film = film_of()
    graphs = planted(np.random.default_rng(1), base=template(checkpoints=4)).film.weights
    film = dataclasses.replace(film, untrained=graphs)
    null = room("metric")[name].module.METRIC.null
    summary = null_summary(film, null, [name], np.random.default_rng(0), 9)[name]
    assert not np.isnan(summary[[Z, P]]).all(), f"{name} is the same in all draws of {null}"


@pytest.mark.parametrize("case", ["zero", "constant", "one checkpoint"])
def test_special_films_without_warnings(case):
    film = template(checkpoints=1 if case == "one checkpoint" else 4)
    film = film.with_weights(film.weights + (0.5 if case == "constant" else 0))
    for name, plugin in room("metric").items():
        metric = plugin.module.METRIC
        if metric.null is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            summary = null_summary(film, metric.null, [name], np.random.default_rng(0), 5)[name]
        assert summary.shape[:2] == (len(STATISTICS), len(film))
        # Weights that are equal may be moved about, but strengths have other weights besides.
        if metric.null != "strengths" or case != "constant":
            assert np.isnan(summary[[Z, P]]).all(), name


def test_negative_draws_that_differ_by_rounding_only_have_no_z_score():
    drawn = -1 - 1e-15 * np.arange(20.0)
    assert len(set(drawn)) > 1
    statistics = null_statistics(np.array(-2.0), drawn)
    assert np.isnan(statistics[[Z, P]]).all()
    assert statistics[MEAN] == pytest.approx(-1)
