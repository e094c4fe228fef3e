"""The null model ``strengths``: its sums, its noise, and that it finds nothing in noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binom

from cntbench.analysis.calibration.simulated import planted, template
from cntbench.dynamics.null_summary import null_summary
from cntbench.dynamics.nulls.strengths import draw, scaled, spread

LEVEL, P = 0.05, 3


def blocks(rng: np.random.Generator, variance: float, count: int, shape=(5, 5)) -> np.ndarray:
    """Weights of independent gamma noise about what strengths give, dims row, column, block."""
    row, column = (
        rng.lognormal(0, 0.7, (shape[0], 1, count)),
        rng.lognormal(0, 0.7, (shape[1], count)),
    )
    return row * column * rng.gamma(1 / variance, variance, (*shape, count))


@given(
    data=st.data(),
    shape=st.tuples(st.integers(2, 6), st.integers(2, 6)),
)
def test_sums_are_kept_whatever_the_noise(data: st.DataObject, shape: tuple[int, int]):
    weight = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
    block = data.draw(hnp.arrays(np.float64, shape, elements=weight))
    noise = data.draw(hnp.arrays(np.float64, shape, elements=st.floats(1e-3, 1e2)))
    values = scaled(noise[..., None], block[..., None])[..., 0]
    assert (values >= 0).all()
    for axis in (0, 1):
        np.testing.assert_allclose(
            values.sum(axis=axis), block.sum(axis=axis), rtol=1e-10, atol=1e-10 * block.max()
        )


def test_odds_ratios_are_those_of_the_noise():
    rng = np.random.default_rng(0)
    block, noise = blocks(rng, 0.2, 7), rng.gamma(2, 0.5, (5, 5, 7))
    values = scaled(noise, block)

    def odds(w):
        return w[:-1, :-1] * w[1:, 1:] / (w[:-1, 1:] * w[1:, :-1])

    np.testing.assert_allclose(odds(values), odds(noise), rtol=1e-8)


@pytest.mark.parametrize("variance", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (11, 11)])
def test_spread_finds_the_variance_of_the_noise(variance, shape):
    variances = spread(blocks(np.random.default_rng(0), variance, 4000, shape))
    assert variances.mean() == pytest.approx(variance, rel=0.12)


def test_draws_scatter_as_the_film_does():
    film = planted(np.random.default_rng(0), exploration=0.4, base=template(checkpoints=60)).film
    drawn = draw(film, np.random.default_rng(1), 40)
    first, last = film.layer == 0, film.layer == 2
    expected = spread(np.moveaxis(film.weights[:, first][:, :, last], 0, -1))
    theirs = spread(np.moveaxis(drawn[..., first, :][..., last], (-2, -1), (0, 1)))
    assert theirs.mean() == pytest.approx(expected.mean(), rel=0.1)


def test_draws_scatter_no_more_than_an_exponential():
    base, rng = template(layers=2, heads=10, checkpoints=20), np.random.default_rng(0)
    weights = np.where(base.feasible, rng.gamma(1 / 4, 4, base.weights.shape), np.nan)
    film = base.with_weights(weights)
    first, last = film.layer == 0, film.layer == 1
    assert spread(np.moveaxis(weights[:, first][:, :, last], 0, -1)).mean() > 3
    drawn = draw(film, np.random.default_rng(1), 10)
    theirs = spread(np.moveaxis(drawn[..., first, :][..., last], (-2, -1), (0, 1)))
    assert theirs.mean() == pytest.approx(0.9, abs=0.1)


def test_weights_that_strengths_give_are_no_others():
    film = template(checkpoints=2)
    row, column = np.random.default_rng(0).lognormal(0, 1, (2, 15))
    film = film.with_weights(np.where(film.feasible, row[:, None] * column, np.nan)[None])
    drawn = draw(film, np.random.default_rng(1), 3)
    np.testing.assert_allclose(drawn, np.broadcast_to(film.weights, drawn.shape), rtol=1e-6)


def test_a_block_with_an_undefined_weight_stays():
    film = planted(np.random.default_rng(0), base=template(checkpoints=2)).film
    weights = film.weights.copy()
    weights[1, 0, 6] = np.nan  # from layer 0 to layer 1
    film = dataclasses.replace(film, weights=weights)
    drawn = draw(film, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn[1, :5, 5:10], weights[1, :5, 5:10])
    assert (drawn[1, :5, 10:] != weights[1, :5, 10:]).all()
    assert (drawn[0, :5, 5:10] != weights[0, :5, 5:10]).all()


@pytest.mark.parametrize(("variance", "rate"), [(0.02, LEVEL), (0.2, LEVEL), (1, 0.11)])
def test_nothing_is_found_in_independent_noise(variance, rate):
    """Weights are noise about what strengths give: few p-values are small; see docs/nulls.md."""
    films, rng = 300, np.random.default_rng(0)
    base = template(checkpoints=films)
    n = len(base.names)
    out, into = rng.lognormal(0, 0.5, (films, n, 1)), rng.lognormal(0, 0.5, (films, 1, n))
    noise = rng.gamma(1 / variance, variance, (films, n, n))
    film = base.with_weights(np.where(base.feasible, out * into * noise, np.nan))
    names = ["clustering", "feed_forward_loops", "strength_assortativity", "modularity"]
    summary = null_summary(film, "strengths", names, np.random.default_rng(1), 99)
    for name, statistics in summary.items():
        p_values = statistics[P] if statistics[P].ndim == 1 else statistics[P][:, 7]
        few = (p_values <= LEVEL).sum()
        assert binom.sf(few - 1, films, rate) > 1e-3, name


def test_structure_is_found():
    """Five chains of components that belong together, at the same strengths: communities."""
    base, rng = template(checkpoints=40), np.random.default_rng(0)
    chain = np.arange(15) % 5
    together = np.where(chain[:, None] == chain, 3, 1)
    noise = rng.gamma(50, 1 / 50, base.weights.shape)
    film = base.with_weights(np.where(base.feasible, together * noise, np.nan))
    summary = null_summary(film, "strengths", ["modularity"], np.random.default_rng(1), 99)
    assert (summary["modularity"][P] <= LEVEL).mean() > 0.9
