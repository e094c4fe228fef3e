"""Tests pooled over films: of nominal size, and not outweighed by films that show nothing."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.stats import norm

from cntbench.analysis.calibration.simulated import template
from cntbench.analysis.pooling import pool_tests
from cntbench.dynamics.claims import ClaimTestResult, examine
from cntbench.dynamics.statistics.distinct_phases import Parameters
from cntbench.runs.catalogue import load_catalogue

#: Pools of each kind; docs/calibration.md says of how many its figures are.
POOLS = int(os.environ.get("CNTBENCH_FILMS", "600"))


def film_result(value: float, drawn: np.ndarray, power: float = 0.5) -> ClaimTestResult:
    """The p-values of a film's statistic by draws, as for a claim; its power is simulated."""
    count = 1 + len(drawn)
    reached, beyond = (drawn >= value).sum(), (drawn > value).sum()
    return ClaimTestResult(
        value=value,
        null=0.0,
        lower=value - 2,
        upper=value + 2,
        p_value=(1 + reached) / count,
        mid_p_value=(1 + reached + beyond) / 2 / count,
        power=power,
        detectable=2.5,
        least=1 / count,
    )


def rate(films, draws, floor=-np.inf, found=0.0) -> float:
    """How often pools have a p-value of at most 0.05; values below a floor are drawn as it."""
    rng, rejected = np.random.default_rng(films * draws), 0
    for _ in range(POOLS):
        value = rng.standard_normal(films) + 6 * (rng.random(films) < found)
        drawn = rng.standard_normal((films, draws))
        pairs = zip(np.maximum(value, floor), np.maximum(drawn, floor), strict=True)
        pool = [film_result(*pair) for pair in pairs]
        rejected += pool_tests(pool, 1.0).p_value <= 0.05
    print(f"{films} films, {draws} draws, from {floor} on, {found} found: {rejected / POOLS:.4f}")
    return rejected / POOLS


@pytest.mark.parametrize(("films", "draws"), [(2, 99), (3, 19), (10, 19), (10, 99), (30, 19)])
def test_the_size_is_nominal(films, draws):
    assert rate(films, draws) == pytest.approx(0.05, abs=0.027)  # three standard errors


@pytest.mark.parametrize("floor", [0.0, 1.0, 1.645])
def test_the_size_is_at_most_nominal_where_most_draws_tie(floor):
    assert rate(10, 19, floor) <= 0.077


def test_films_that_show_nothing_do_not_outweigh_those_that_do():
    """Half of the films have the effect; in the others the statistic ties with most draws."""
    assert rate(10, 99, 1.645, found=0.5) > 0.9


@pytest.mark.parametrize(("films", "found"), [(3, 0.5), (5, 0.2), (10, 0.1), (10, 0.2), (10, 0.4)])
def test_the_power_of_pools_follows_from_a_simulated_power(films, found):
    """Where a film shows the effect clearly, or nothing, with a known probability."""
    rng = np.random.default_rng(0)
    one = film_result(0.0, np.maximum(rng.standard_normal(99), 0), power=found)
    assert pool_tests([one] * films, 1.0).power == pytest.approx(
        rate(films, 99, 0.0, found=found), abs=0.12
    )


@pytest.mark.parametrize("needed", [0.5, 1.6, 4.0])
def test_the_detectable_effect_is_the_one_whose_power_is_enough(needed):
    """Also where a film's test needs more errors than the pooled power counts."""
    errors = np.array([0.5, 1.0, 1.5])

    def pooled(minimum):
        films = [
            ClaimTestResult(
                value=1.0,
                null=0.0,
                lower=1 - 1.96 * error,
                upper=1 + 1.96 * error,
                p_value=0.01,
                mid_p_value=0.01,
                power=norm.cdf((minimum - needed) / error),
                detectable=needed + norm.ppf(0.8) * error,
                least=0.005,
            )
            for error in errors
        ]
        return pool_tests(films, minimum)

    assert pooled(pooled(2.0).detectable).power == pytest.approx(0.8, abs=1e-3)


def test_a_statistic_below_the_floor_ties_with_the_draws_at_it(monkeypatch):
    """Where another number of phases describes a film better, its p-value is 1, mid-p 0.5."""
    drawn = np.array([0.0] * 18 + [0.3])
    monkeypatch.setattr(Parameters, "series", lambda self, film: np.full(48, -0.2))
    monkeypatch.setattr(Parameters, "draws", lambda self, film, null, rng, size: drawn)
    film = template(layers=3, heads=3, checkpoints=48)
    [results] = examine(
        film, load_catalogue().some_claims(["three_phases"]), seed=0, labels=[], draws=19
    )
    phases = next(result for result in results if result.value < 0)
    assert phases.p_value == 1
    assert phases.mid_p_value == pytest.approx((0.5 + 1 + 18 / 2) / 20)
