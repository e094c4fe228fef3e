"""The common checks of every null model: what it keeps, what it randomises, edge cases."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cntbench.analysis.calibration.simulated import planted, template
from cntbench.components import components, feasible
from cntbench.dynamics.film import Film
from cntbench.errors import CntbenchError
from cntbench.plugins import Plugin, room
from cntbench.testing import under_test

NULLS = list(under_test("null model").values())
every_null = pytest.mark.parametrize("plugin", NULLS, ids=[p.name for p in NULLS])

weight = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))


def film_of(nodes, weights: np.ndarray, errors: np.ndarray, untrained: np.ndarray) -> Film:
    """A film of some components, from plain arrays."""
    base = template(layers=1, heads=1, checkpoints=len(weights))
    return dataclasses.replace(
        base,
        weights=weights,
        errors=errors,
        names=tuple(node.name for node in nodes),
        layer=np.array([node.layer for node in nodes]),
        untrained=untrained,
    )


@st.composite
def films(draw: st.DrawFn) -> Film:
    """Films of small models, some with weights that are undefined at one checkpoint."""
    nodes = components(
        draw(st.integers(1, 3)), draw(st.integers(1, 3)), parallel=draw(st.booleans())
    )
    shape = (draw(st.integers(1, 4)), len(nodes), len(nodes))
    weights, errors = (draw(hnp.arrays(np.float64, shape, elements=weight)) for _ in range(2))
    others = draw(hnp.arrays(np.float64, (3, *shape[1:]), elements=weight))
    allowed = feasible(nodes)
    weights, errors, others = (np.where(allowed, a, np.nan) for a in (weights, errors, others))
    if draw(st.booleans()):
        holes = draw(hnp.arrays(np.bool_, shape[1:]))
        weights[0, holes] = np.nan
    return film_of(nodes, weights, errors, others)


def pairs(film: Film) -> list[np.ndarray]:
    """The edges from each layer to each other one, as masks, by a plain loop."""
    blocks: dict[tuple[int, int], np.ndarray] = {}
    for i, a in enumerate(film.layer):
        for j, b in enumerate(film.layer):
            if film.feasible[i, j]:
                mask = blocks.setdefault((a, b), np.zeros(film.feasible.shape, dtype=bool))
                mask[i, j] = True
    return list(blocks.values())


def keeps_weights_of_layer_pairs(film: Film, drawn: np.ndarray) -> None:
    for before, after in zip(film.weights, drawn, strict=True):
        for mask in pairs(film):
            np.testing.assert_array_equal(np.sort(before[mask]), np.sort(after[mask]))


def keeps_strengths_of_layer_pairs(film: Film, drawn: np.ndarray) -> None:
    for before, after in zip(film.weights, drawn, strict=True):
        assert not (after < 0).any()
        for mask in pairs(film):
            for axis in (0, 1):
                kept, result = (np.nansum(np.where(mask, a, 0), axis=axis) for a in (before, after))
                np.testing.assert_allclose(result, kept, rtol=1e-11, atol=1e-11 * kept.max())


def keeps_every_graph(film: Film, drawn: np.ndarray) -> None:
    assert sorted(g.tobytes() for g in film.weights) == sorted(g.tobytes() for g in drawn)


def keeps_the_mean_graph_without_noise(film: Film, drawn: np.ndarray) -> None:
    still = dataclasses.replace(film, errors=film.errors * 0)
    again = room("null model")["frozen"].module.draw(still, np.random.default_rng(0))
    for graph in again:
        for i, j in np.argwhere(~np.isnan(graph)):
            seen = [w for w in film.weights[:, i, j] if not np.isnan(w)]
            assert graph[i, j] == pytest.approx(sum(seen) / len(seen), rel=1e-12)
    assert not (drawn < 0).any()


def keeps_the_graph_of_one_model(film: Film, drawn: np.ndarray) -> None:
    if np.isnan(film.weights[-1]).all():
        return
    present = ~np.isnan(film.weights)
    assert any(
        all((graph[p] == other[p]).all() for graph, p in zip(drawn, present, strict=True))
        for other in film.untrained
    )


#: What each null model says that it keeps.
KEEPS: dict[str, Callable[[Film, np.ndarray], None]] = {
    "layer_pairs": keeps_weights_of_layer_pairs,
    "strengths": keeps_strengths_of_layer_pairs,
    "time_order": keeps_every_graph,
    "frozen": keeps_the_mean_graph_without_noise,
    "untrained": keeps_the_graph_of_one_model,
}


def keeps(plugin: Plugin, film: Film, drawn: np.ndarray) -> None:
    """Assert that a draw keeps what its null model says; a user's file defines ``keeps``."""
    check = KEEPS.get(plugin.name) or getattr(plugin.module, "keeps", None)
    if check is not None:
        check(film, drawn)


@every_null
def test_it_is_known_what_is_kept(plugin: Plugin):
    assert plugin.name in KEEPS or hasattr(plugin.module, "keeps"), (
        f"{plugin.path}: define keeps(film, drawn), which asserts what {plugin.name} keeps"
    )


@every_null
@given(film=films(), seed=st.integers(0, 2**32 - 1))
def test_keeps_what_it_says(plugin: Plugin, film: Film, seed: int):
    before = film.weights.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = plugin.module.draw(film, np.random.default_rng(seed))
    assert drawn.shape == film.weights.shape
    if plugin.name == "time_order":
        assert (np.isnan(drawn).sum(axis=0) == np.isnan(film.weights).sum(axis=0)).all()
    elif plugin.name in KEEPS:
        np.testing.assert_array_equal(np.isnan(drawn), np.isnan(film.weights))
    else:
        assert np.isnan(drawn)[:, ~film.feasible].all()
    keeps(plugin, film, drawn)
    np.testing.assert_array_equal(film.weights, before, err_msg="the film is not changed")


@every_null
@given(film=films(), seed=st.integers(0, 2**32 - 1), size=st.integers(1, 3))
def test_the_seed_decides_and_each_of_several_draws_is_one(
    plugin: Plugin, film: Film, seed: int, size: int
):
    draw = plugin.module.draw
    drawn = draw(film, np.random.default_rng(seed), size)
    np.testing.assert_array_equal(drawn, draw(film, np.random.default_rng(seed), size))
    assert drawn.shape == (size, *film.weights.shape)
    for item in drawn:
        keeps(plugin, film, item)


@every_null
def test_draws_differ_from_the_film_and_from_each_other(plugin: Plugin):
    film = planted(np.random.default_rng(0), base=template()).film
    others = np.where(film.feasible, np.random.default_rng(1).random((4, 15, 15)), np.nan)
    film = dataclasses.replace(film, untrained=others)
    drawn = plugin.module.draw(film, np.random.default_rng(2), 4)
    all_five = [film.weights, *drawn]
    for i, draw in enumerate(all_five):
        for other in all_five[:i]:
            moved = (draw != other)[:, film.feasible].mean()
            assert moved > 0.8  # a permutation leaves some in their place


@every_null
@pytest.mark.parametrize("case", ["no edge", "zero weights", "single edge", "constant"])
def test_is_defined_on_special_films_without_warnings(plugin: Plugin, case: str):
    nodes = components(3, 2, parallel=True)
    allowed = feasible(nodes)
    weights = np.full((3, len(nodes), len(nodes)), np.nan)
    if case == "zero weights":
        weights[:, allowed] = 0
    elif case == "single edge":
        weights[:, 0, -1] = 0.3
    elif case == "constant":
        weights[:, allowed] = 0.5
    film = film_of(nodes, weights, weights * 0, weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = plugin.module.draw(film, np.random.default_rng(0), 2)
    for draw in drawn:
        keeps(plugin, film, draw)
    if plugin.name in KEEPS and (case != "constant" or plugin.name != "strengths"):
        np.testing.assert_array_equal(drawn, np.broadcast_to(weights, (2, *weights.shape)))


def test_layer_pairs_puts_every_weight_everywhere_alike():
    film = planted(np.random.default_rng(0), base=template(layers=2, heads=1, checkpoints=1)).film
    drawn = room("null model")["layer_pairs"].module.draw(film, np.random.default_rng(0), 4000)
    block = drawn[:, 0, :2, 2:].reshape(4000, 4)
    for value in block[0]:
        counts = (block == value).sum(axis=0)
        np.testing.assert_allclose(counts, 1000, atol=5 * np.sqrt(4000 * 0.25 * 0.75))


def test_frozen_noise_has_the_mean_and_the_standard_error():
    film = planted(np.random.default_rng(0), base=template(layers=2, heads=2, checkpoints=2)).film
    film = dataclasses.replace(film, errors=film.errors * np.array([4, 12])[:, None, None])
    count = 20000
    drawn = room("null model")["frozen"].module.draw(film, np.random.default_rng(1), count)
    edges, errors = drawn[..., film.feasible], film.errors[:, film.feasible]
    mean = film.weights[:, film.feasible].mean(axis=0)
    np.testing.assert_allclose((edges.mean(axis=0) - mean) / errors, 0, atol=5 / np.sqrt(count))
    np.testing.assert_allclose(edges.std(axis=0) / errors, 1, atol=0.05)


def test_frozen_without_a_standard_error_is_undefined():
    film = planted(np.random.default_rng(0), base=template()).film
    single = dataclasses.replace(film, errors=film.errors * np.nan)
    drawn = room("null model")["frozen"].module.draw(single, np.random.default_rng(0))
    assert np.isnan(drawn).all()


def test_untrained_draws_are_as_many_as_models_at_most():
    draw = room("null model")["untrained"].module.draw
    film = planted(np.random.default_rng(0), base=template()).film
    assert draw(film, np.random.default_rng(0), 5).shape == (0, *film.weights.shape)
    with pytest.raises(CntbenchError, match="no untrained models were measured"):
        draw(film, np.random.default_rng(0))
    models = np.where(film.feasible, np.arange(3.0)[:, None, None], np.nan)
    drawn = draw(dataclasses.replace(film, untrained=models), np.random.default_rng(0), 5)
    assert sorted(np.unique(item[:, film.feasible]) for item in drawn) == [[0], [1], [2]]
