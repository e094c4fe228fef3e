"""The order of components by strength: who is compared with whom, and how far an order lasts."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from scipy import stats

from cntbench.analysis.calibration.simulated import gated, planted, template
from cntbench.dynamics.film import Undefined
from cntbench.dynamics.orders import compare, groups, kendall, pairs, stability, strengths
from cntbench.dynamics.statistics._base import lag_of


@pytest.mark.parametrize("role", ["spreader", "gatherer"])
@pytest.mark.parametrize("among", ["all", "peers"])
def test_pairs_are_of_those_that_have_the_role_and_of_peers_if_asked(role, among):
    film = template(layers=3, heads=3)
    able = film.feasible.any(axis=1 if role == "spreader" else 0)
    expected = [
        [i, j]
        for i in range(len(able))
        for j in range(i + 1, len(able))
        if able[i]
        and able[j]
        and (
            among == "all"
            or (
                film.layer[i] == film.layer[j]
                and film.names[i].endswith("MLP") == film.names[j].endswith("MLP")
            )
        )
    ]
    np.testing.assert_array_equal(pairs(film, role, among), expected)


def test_both_roles_have_as_many_peers():
    film = template(layers=4, heads=3)
    assert len(pairs(film, "spreader", "peers")) == len(pairs(film, "gatherer", "peers")) == 9


def test_gatekeepers_send_and_receive_and_their_strength_is_betweenness():
    film = gated(np.random.default_rng(0), template(layers=3, heads=3, checkpoints=3))
    sums = strengths(film, "gatekeeper")
    for weights, row in zip(film.weights, sums, strict=True):
        graph = nx.DiGraph()
        graph.add_nodes_from(range(len(weights)))
        graph.add_weighted_edges_from(
            (i, j, 1 / weights[i, j]) for i, j in np.argwhere(~np.isnan(weights)).tolist()
        )
        expected = nx.betweenness_centrality(graph, weight="weight")
        np.testing.assert_allclose(row, [expected[node] for node in range(len(row))])
    inner = set(np.flatnonzero(film.layer == 1))
    assert set(pairs(film, "gatekeeper", "all").ravel()) == inner
    assert sums.any()


def test_a_film_whose_strongest_paths_are_single_edges_has_no_gatekeepers():
    """If most of its graphs have none."""
    film = gated(np.random.default_rng(0), template(layers=3, heads=3, checkpoints=5), size=0.3)
    even = np.where(film.feasible, np.ones(film.weights.shape), np.nan)
    first = np.arange(5)[:, None, None]
    assert strengths(film.with_weights(np.where(first < 2, even, film.weights)), "gatekeeper").any()
    with pytest.raises(Undefined, match="the strongest paths are single edges"):
        strengths(film.with_weights(np.where(first < 3, even, film.weights)), "gatekeeper")


def test_stability_is_kendalls_tau():
    film = planted(np.random.default_rng(0), base=template(checkpoints=12)).film
    received = strengths(film, "gatherer")[:, film.feasible.any(axis=0)]
    expected = [
        stats.kendalltau(a, b).statistic for a, b in zip(received[:-3], received[3:], strict=True)
    ]
    np.testing.assert_allclose(stability(film, "gatherer", "all", 3), expected)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_ties_are_no_order(scale):
    values = np.array([[1.0, 1.0 + 1e-12, 2.0], [0.0, 0.0, 1e-8], [1.0, 1 - 1e-8, 1 - 1e-12]])
    signs = compare(scale * values, np.array([[0, 1], [0, 2], [2, 1]]))
    np.testing.assert_array_equal(signs, [[0, -1, 1], [0, -1, 1], [1, 0, 1]])


def test_without_pairs_there_is_no_stability():
    assert np.isnan(kendall(np.empty((5, 0)), 2)).all()
    assert len(kendall(np.empty((5, 0)), 7)) == 0


def test_peers_share_layer_and_kind():
    film = template(layers=2, heads=2)
    np.testing.assert_array_equal(groups(film), [0, 0, 1, 2, 2, 3])


def test_pairs_of_a_small_model():
    film = template(layers=2, heads=2)
    assert film.names == ("L0.H0", "L0.H1", "L0.MLP", "L1.H0", "L1.H1", "L1.MLP")
    np.testing.assert_array_equal(pairs(film, "gatherer", "all"), [[3, 4], [3, 5], [4, 5]])
    np.testing.assert_array_equal(pairs(film, "gatherer", "peers"), [[3, 4]])


def test_a_lag_is_a_share_of_the_film():
    assert lag_of(template(checkpoints=40), 0.25) == 10
