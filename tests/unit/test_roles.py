"""Roles: layer-corrected strengths, their errors, the hierarchy, and who enters and leaves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cntbench.analysis.calibration.simulated import planted, template
from cntbench.components import components, feasible
from cntbench.dynamics import roles
from cntbench.dynamics.nulls import layer_pairs

ROLES = ("spreader", "gatherer")
every_role = pytest.mark.parametrize("role", ROLES)


def naive(weights: np.ndarray, layer: np.ndarray, role: str) -> np.ndarray:
    """Layer-corrected strengths of one graph, edge by edge."""
    n = len(layer)
    edges = [(i, j) for i in range(n) for j in range(n) if not np.isnan(weights[i, j])]
    blocks: dict[tuple[int, int], list[float]] = {}
    for i, j in edges:
        blocks.setdefault((layer[i], layer[j]), []).append(weights[i, j])
    values = np.full(n, np.nan)
    for k in range(n):
        own = [(i, j) for i, j in edges if k == (i if role == "spreader" else j)]
        expected = sum(
            sum(blocks[layer[i], layer[j]]) / len(blocks[layer[i], layer[j]]) for i, j in own
        )
        if expected > 0:
            values[k] = sum(weights[e] for e in own) / expected
    return values


@st.composite
def graphs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Weights of small models and their layers; some edges undefined."""
    nodes = components(
        draw(st.integers(1, 3)), draw(st.integers(1, 3)), parallel=draw(st.booleans())
    )
    shape = (len(nodes), len(nodes))
    elements = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
    weights = draw(hnp.arrays(np.float64, shape, elements=elements))
    holes = draw(hnp.arrays(np.bool_, shape)) if draw(st.booleans()) else False
    weights = np.where(feasible(nodes) & ~np.asarray(holes), weights, np.nan)
    return weights, np.array([node.layer for node in nodes])


@every_role
@given(graph=graphs())
def test_strength_agrees_with_a_plain_loop(role, graph):
    weights, layer = graph
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strengths = roles.strength(weights, layer, role)
    np.testing.assert_allclose(strengths, naive(weights, layer, role), rtol=1e-9)


@every_role
def test_leading_dims_are_kept(role):
    film = planted(np.random.default_rng(0), base=template(checkpoints=3)).film
    strengths = roles.strength(film.weights, film.layer, role)
    errors = roles.error(film.weights, film.errors, film.layer, role)
    for i in range(3):
        values = roles.strength(film.weights[i], film.layer, role)
        np.testing.assert_allclose(strengths[i], values, rtol=1e-12)
        values = roles.error(film.weights[i], film.errors[i], film.layer, role)
        np.testing.assert_allclose(errors[i], values, rtol=1e-12)


@every_role
def test_one_is_the_expectation_under_the_null_of_layers(role):
    film = planted(np.random.default_rng(0), base=template(checkpoints=1)).film
    drawn = layer_pairs.draw(film, np.random.default_rng(1), 4000)[:, 0]
    strengths = roles.strength(drawn, film.layer, role)
    has = ~np.isnan(strengths[0])
    assert (~has).sum() == 5, "a layer without edges has no role"
    scatter = strengths[:, has].std(axis=0) / np.sqrt(4000)
    assert (abs(strengths[:, has].mean(axis=0) - 1) < 5 * scatter).all()


@every_role
def test_layers_alone_make_no_role(role):
    """Whatever the level of influence between two layers, equal components are equal."""
    film = template(checkpoints=1)
    level = np.random.default_rng(0).lognormal(0, 1, (3, 3))
    weights = np.where(film.feasible, level[film.layer[:, None], film.layer], np.nan)
    strengths = roles.strength(weights, film.layer, role)
    np.testing.assert_allclose(strengths[~np.isnan(strengths)], 1)
    ranks = roles.rank(strengths)
    assert set(ranks[~np.isnan(ranks)]) == {5.5}
    assert set(roles.top(ranks)[~np.isnan(ranks)]) == {1}


@every_role
def test_error_is_that_of_errors_correlated_within_a_component(role):
    rng = np.random.default_rng(0)
    film = planted(rng, base=template(checkpoints=1)).film
    weights, errors = film.weights[0], film.errors[0] / 10  # small enough to be linear
    common = rng.standard_normal((20_000, len(film.layer)))
    common = common[:, :, None] if role == "spreader" else common[:, None, :]
    drawn = roles.strength(weights + errors * common, film.layer, role)
    error = roles.error(weights, errors, film.layer, role)
    has = ~np.isnan(error)
    np.testing.assert_allclose(drawn.std(axis=0)[has], error[has], rtol=0.03)


@every_role
def test_an_undefined_error_makes_the_error_undefined(role):
    film = planted(np.random.default_rng(0), base=template(checkpoints=1)).film
    errors = roles.error(film.weights[0], film.errors[0] * np.nan, film.layer, role)
    assert np.isnan(errors).all()


def test_a_graph_without_influence_has_no_roles():
    film = template(checkpoints=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        strengths = roles.strength(film.weights, film.layer, "spreader")
        errors = roles.error(film.weights, film.errors, film.layer, "spreader")
        members = roles.top(roles.rank(strengths))
    for values in (strengths, errors, members):
        assert np.isnan(values).all()


def test_ranks_share_places_and_the_top_set_is_a_quarter():
    strengths = np.array([np.nan, 3, 1, 1, 2, 0.5, 0.4, 0.3, 0.2])
    ranks = roles.rank(strengths)
    np.testing.assert_array_equal(ranks, [np.nan, 1, 3.5, 3.5, 2, 5, 6, 7, 8])
    np.testing.assert_array_equal(roles.top(ranks), [np.nan, 1, 0, 0, 1, 0, 0, 0, 0])
    tied = roles.top(roles.rank(np.array([3.0, 2.0, 2.0, 1.0, 1.0])))
    np.testing.assert_array_equal(tied, [1, 1, 1, 0, 0])


def test_entries_and_exits():
    members = np.array([[1, 0, np.nan], [1, 1, np.nan], [0, 1, np.nan]])
    expected = [[np.nan] * 3, [0, 1, np.nan], [-1, 0, np.nan]]
    np.testing.assert_array_equal(roles.moves(members), expected)


def test_planted_spreaders_lead_their_layer_throughout():
    made = planted(np.random.default_rng(0), base=template())
    strengths = roles.strength(made.film.weights, made.film.layer, "spreader")
    for layer in (0, 1):
        members = np.flatnonzero(made.film.layer == layer)
        leader = members[made.spreaders[members].argmax()]
        assert (strengths[:, members].argmax(axis=1) == leader - members[0]).mean() > 0.95
