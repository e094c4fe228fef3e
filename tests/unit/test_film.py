"""Films as arrays, and the simulated ones whose dynamics are known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from support.films import random_film

from cntbench.analysis.calibration import simulated
from cntbench.dynamics.film import film_of
from cntbench.dynamics.nulls._draws import layer_pair


def test_untrained_models_come_with_their_cell():
    dataset = random_film(tasks=("induction", "bigram"))
    graphs = np.random.default_rng(0).random((2, 2, 3, 6, 6)).astype(np.float32)
    dims = ("task", "ablation", "seed", "source", "target")
    coords = {dim: dataset[dim] for dim in ("task", "ablation", "source", "target")}
    others = xr.Dataset({"influence": (dims, graphs)}, coords=coords)
    for i, j in np.ndindex(2, 2):
        cell = {"task": i, "ablation": j}
        film = film_of(dataset.isel(cell), others.isel(cell))
        np.testing.assert_array_equal(film.untrained, graphs[i, j])
        assert not len(film_of(dataset.isel(cell)).untrained)


@pytest.mark.parametrize("make", [simulated.frozen, simulated.time_shuffled, simulated.untrained])
def test_simulated_films_are_films_and_their_seed_decides(make):
    film, same = (make(np.random.default_rng(0), simulated.template()) for _ in range(2))
    assert film.weights.shape == film.errors.shape == (143, 15, 15)
    assert (film.weights[:, film.feasible] >= 0).all()
    assert np.isnan(film.weights[:, ~film.feasible]).all()
    np.testing.assert_array_equal(film.weights, same.weights)
    np.testing.assert_array_equal(film.readouts, same.readouts)
    assert film.readouts.shape == film.readout_errors.shape == (3, 143)


def test_frozen_changes_by_noise_alone():
    film = simulated.frozen(np.random.default_rng(0), simulated.template())
    edges, errors = film.weights[:, film.feasible], film.errors[:, film.feasible]
    np.testing.assert_allclose(edges.std(axis=0) / errors.mean(axis=0), 1, atol=0.3)
    deviation = film.readouts.std(axis=1) / film.readout_errors.mean(axis=1)
    np.testing.assert_allclose(deviation, 1, atol=0.3)


def test_untrained_has_no_hierarchy_that_lasts():
    film = simulated.untrained(np.random.default_rng(0), simulated.template())
    strength = np.nansum(film.weights, axis=2)[:, :5]  # of the first layer
    ranks = strength.argsort(axis=1).argsort(axis=1)
    assert abs(ranks.mean(axis=0) - 2).max() < 0.5


def test_planted_has_the_dynamics_that_it_says():
    made = simulated.planted(np.random.default_rng(0), base=simulated.template(), emergence=500)
    film = made.film
    assert made.emergence == 500
    accuracy = film.readout("accuracy")
    assert accuracy[film.step < 350].max() < 0.2 < 0.8 < accuracy[film.step > 650].min()
    early, late = film.weights[:20].mean(axis=0), film.weights[-20:].mean(axis=0)
    first, last = film.layer == 0, film.layer == 2
    for graph in (early, late):
        sent = np.nansum(graph, axis=1)[first]
        assert (sent.argsort() == made.spreaders[first].argsort()).all()
    for graph, factors in ((early, made.gatherers_before), (late, made.gatherers_after)):
        received = np.nansum(graph, axis=0)[last]
        assert (received.argsort() == factors[last].argsort()).all()
    assert (
        made.gatherers_before[last].argsort() == made.gatherers_after[last].argsort()[::-1]
    ).all()


def test_time_shuffled_keeps_readouts_and_loses_the_order():
    film = simulated.time_shuffled(np.random.default_rng(3), simulated.template())
    total = np.nansum(film.weights, axis=(1, 2))
    assert abs(np.corrcoef(total, film.step)[0, 1]) < 0.3
    assert abs(np.corrcoef(film.readout("accuracy"), film.step)[0, 1]) > 0.7
    paired = np.nansum(film.errors, axis=(1, 2))
    assert np.corrcoef(total, paired)[0, 1] > 0.99, "each graph keeps its errors"


def test_layer_pairs_have_numbers_and_infeasible_edges_minus_one():
    numbers = layer_pair(simulated.template(layers=3, heads=2))
    np.testing.assert_array_equal(np.unique(numbers), [-1, 1, 2, 5])
