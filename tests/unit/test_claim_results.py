"""A test's result: each number that follows from the statistic's series and its draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from cntbench.analysis.calibration.simulated import planted, template
from cntbench.dynamics.claim import Claim, ClaimSpec, ClaimTest, ClaimTestSpec
from cntbench.dynamics.claims import examine
from cntbench.dynamics.film import Film
from cntbench.dynamics.resampling import mean_interval, null_interval
from cntbench.dynamics.statistics._base import Statistic

FILM = planted(np.random.default_rng(0), base=template(checkpoints=20)).film


class Given(Statistic):
    """A statistic whose series and draws are given; it keeps films, and what its streams draw."""

    needs = 1
    own_nulls: ClassVar[dict[str, str]] = {"given": "The draws are given."}

    def __init__(self, series, drawn, name="given", **attributes):
        self.given, self.drawn, self.name = np.array(series), drawn, name
        self.streams, self.films = [], []
        vars(self).update(attributes)

    def __repr__(self) -> str:
        return self.name

    def series(self, film):
        self.films.append(film.weights)
        return self.given

    def draws(self, film, null, rng, size):
        self.streams.append(rng.random())
        return np.array(self.drawn)

    def spread(self, film, rng):
        self.streams.append(rng.random())
        return vars(self).get("scatter")


def spec_of_test(null: str, minimum: float) -> ClaimTestSpec:
    return ClaimTestSpec(statistic="given", null=null, minimum=minimum, rules_out="Chance.")


def results_of(*statistics: Statistic, null: str = "given", minima=(0.1,), film: Film = FILM):
    """The results of each statistic with each smallest effect."""
    specs = [spec_of_test(null, minimum) for minimum in minima]
    tests = tuple(ClaimTest(spec, statistic) for statistic in statistics for spec in specs)
    spec = ClaimSpec(
        version=1, summary="Mine.", text="So.", source="me", about="graphs", test=({},)
    )
    own = Claim("mine", Path("mine.toml"), spec, tests)
    return examine(film, [own], seed=0, labels=["x"], draws=19)[0]


SERIES = np.random.default_rng(0).standard_normal(30)
DRAWN = np.random.default_rng(1).standard_normal(39) + 0.3


@pytest.mark.parametrize("value", [-0.5, 0.7, 2.0, 9.0])
def test_a_result_is_the_statistic_held_against_its_draws(value):
    series = SERIES - SERIES.mean() + value
    [result] = results_of(Given(series, DRAWN))
    reached = sum(draw >= value for draw in DRAWN)
    assert result.p_value == pytest.approx((1 + reached) / 40)
    assert result.mid_p_value == pytest.approx((0.5 + reached) / 40)
    assert result.least == pytest.approx(1 / 40)
    assert result.effect == pytest.approx(value - DRAWN.mean())
    bounds = np.array(mean_interval(series)) - DRAWN.mean()
    assert (result.lower, result.upper) == pytest.approx(tuple(bounds))


@pytest.mark.parametrize("draws", [19, 20, 39, 99])
def test_the_power_is_that_of_p_values_of_at_most_a_twentieth(draws):
    drawn = np.random.default_rng(draws).standard_normal(draws) + 0.3
    [result] = results_of(Given(SERIES, drawn))
    error = (result.upper - result.lower) / 2 / 1.959964
    needed = result.detectable - 0.841621 * error  # is reached in four of five films
    for more, small in ((1e-4, True), (-1e-4, False)):
        series = np.full(30, needed + drawn.mean() + more)
        [other] = results_of(Given(series, drawn))
        assert (other.p_value <= 0.05) == small
    [at] = results_of(Given(SERIES, drawn), minima=[result.detectable])
    assert at.power == pytest.approx(0.8)


def test_where_no_p_value_is_small_enough_there_is_no_power():
    [result] = results_of(Given(SERIES, DRAWN[:18]), minima=[9.0])
    assert (result.power, result.detectable) == (0, np.inf)


def test_a_statistics_limits_cut_its_interval_but_not_the_error_of_its_power():
    [free], [cut] = (results_of(Given(SERIES, DRAWN, limits=of)) for of in ((-9, 9), (-0.1, 0.1)))
    assert (cut.lower, cut.upper) == pytest.approx((-0.1 - DRAWN.mean(), 0.1 - DRAWN.mean()))
    assert (cut.power, cut.detectable) == (free.power, free.detectable)


def test_few_moments_have_the_interval_of_the_draws_or_of_the_spread():
    wide = 4 * DRAWN
    for scatter, of in ((None, DRAWN), (wide, wide)):
        [result] = results_of(Given([0.9], DRAWN, few_moments=True, scatter=scatter))
        bounds = np.array(null_interval(0.9, of)) - DRAWN.mean()
        assert (result.lower, result.upper) == pytest.approx(tuple(bounds))


def test_a_single_draw_that_is_not_defined_leaves_a_test_open():
    [result] = results_of(Given(SERIES, [*DRAWN, np.nan]))
    assert result.reason == "is not defined under the null model 'given'"


@pytest.mark.parametrize("null", ["given", "time_order"])
def test_a_moment_that_is_not_defined_leaves_a_test_open(null):
    """Compared with draws, NaN had the smallest p-value: no draw reaches it."""
    [result] = results_of(Given([*SERIES, np.nan], DRAWN), null=null)
    assert result.reason == "is not defined on this film"
    assert np.isnan([result.p_value, result.value]).all()


@pytest.mark.parametrize("null", ["given", "time_order"])
def test_every_statistic_has_random_streams_of_its_own(null):
    first, second = (Given(SERIES, DRAWN, name) for name in ("first", "second"))
    results_of(first, second, null=null)
    assert len({*first.streams, *second.streams}) == len(first.streams + second.streams) > 1


def test_the_power_is_of_each_tests_own_smallest_effect():
    minima = (0.1, 0.9)
    together = results_of(Given(SERIES, DRAWN), minima=minima)
    alone = [results_of(Given(SERIES, DRAWN), minima=[minimum])[0] for minimum in minima]
    assert [item.power for item in together] == [item.power for item in alone]
    assert together[0].power < together[1].power


def test_an_edge_that_is_undefined_in_the_film_is_so_in_untrained_models():
    weights = FILM.weights.copy()
    weights[3, 0, -1] = np.nan
    film = replace(FILM, weights=weights, untrained=FILM.weights[:4])
    statistic = Given(SERIES, DRAWN)
    results_of(statistic, null="untrained", film=film)
    assert len(statistic.films) > 4
    for drawn in statistic.films:
        np.testing.assert_array_equal(np.isnan(drawn), np.isnan(weights))
