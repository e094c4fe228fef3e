"""Tests pooled over films: of nominal size, and not outweighed by films that show nothing."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm, t
from support.films import random_film

from cntbench.analysis.calibration.rates import _outcomes, _pooled_outcomes
from cntbench.analysis.calibration.simulated import template
from cntbench.analysis.pooling import pool_films, pool_tests
from cntbench.comparison.claims import check_independent
from cntbench.dynamics.claim import VerdictRule
from cntbench.dynamics.claims import ClaimTestResult, examine, judge
from cntbench.dynamics.statistics.distinct_phases import Parameters
from cntbench.errors import CntbenchError
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
        detectable=np.nan,
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
    """Where a film shows the effect clearly, or is like the null model."""
    rng = np.random.default_rng(0)
    power = found + (1 - found) * 0.05
    single = film_result(0.0, np.maximum(rng.standard_normal(99), 0), power=power)
    assert pool_tests([single] * films, 1.0).power == pytest.approx(
        rate(films, 99, 0.0, found=found), abs=0.07
    )


def normal_film(value: float, error: float, minimum: float, null_scatter: float) -> ClaimTestResult:
    """A film whose null model and statistic are normal, by 99 draws at its quantiles."""
    drawn = null_scatter * norm.ppf((np.arange(99) + 0.5) / 99)
    needed = np.sort(drawn)[-5]
    return replace(
        film_result(value, drawn, norm.cdf((minimum - needed) / error)),
        lower=value - norm.ppf(0.975) * error,
        upper=value + norm.ppf(0.975) * error,
        detectable=needed + norm.ppf(0.8) * error,
    )


@pytest.mark.parametrize("films", [2, 3, 10])
@pytest.mark.parametrize("null_scatter", [0.2, 1.0, 2.0])
@pytest.mark.parametrize("scatter", [0.5, 1.0, 2.0])
def test_the_power_of_pools_is_how_often_they_find_the_effect(films, null_scatter, scatter):
    """Also where null models scatter less or more than films, and effects more than errors say."""
    rng = np.random.default_rng(films)
    effects = norm.ppf((np.arange(films) + 0.5) / films)
    effects *= scatter / effects.std(ddof=1)

    def pooled(minimum):
        return pool_tests([normal_film(v, 1.0, minimum, null_scatter) for v in effects], minimum)

    pools = rng.standard_normal((20_000, films))
    for effect in (0.7, pooled(1.0).detectable):
        reached = 99 * norm.sf((effect + max(scatter, 1) * pools) / null_scatter)
        mid_p_values = (0.5 + reached.round()) / 100
        result = norm.isf(mid_p_values).sum(axis=1) >= norm.isf(0.05) * np.sqrt(films)
        assert pooled(effect).power == pytest.approx(result.mean(), abs=0.03)
    assert pooled(effect).power == pytest.approx(0.8, abs=0.005)


def test_a_simulated_power_says_nothing_of_other_effects():
    single = film_result(0.0, np.zeros(99))
    assert np.isnan(pool_tests([single] * 3, 1.0).detectable)


def test_the_smallest_p_value_of_a_pool_is_that_of_films_that_no_draw_reaches():
    pool = pool_tests([film_result(9.0, np.zeros(99)), film_result(9.0, np.zeros(19))], 1.0)
    assert pool.least == pytest.approx(pool.p_value) != 0


def test_no_effect_is_detectable_by_too_few_draws():
    few = replace(film_result(1.0, np.zeros(9), power=0.0), detectable=np.inf)
    pool = pool_tests([few, few], 1.0)
    assert (pool.power, pool.detectable) == (0, np.inf)


def test_only_films_that_answer_are_pooled():
    rule = VerdictRule(0.05, (1.0, 1.0), ("chance", "noise"))
    silent = ClaimTestResult(reason="no learning juncture")
    answers = [[film_result(value, np.zeros(99))] * 2 for value in (1.0, 2.0, 9.0)]
    answers[2] = [replace(test, null=3.0) for test in answers[2]]
    pool = pool_films([[answers[0][0], silent], *answers], rule)
    assert [test.effect for test in pool] == pytest.approx([3.0, 3.0])
    two = pool_films([answers[0], [silent, silent], answers[1]], rule)
    assert [test.effect for test in two] == pytest.approx([1.5, 1.5])
    assert pool_films([answers[2]], rule) is answers[2]
    nobody = [[silent, silent], [silent, answers[0][0]]]
    assert pool_films(nobody, rule) is nobody[0]


def test_films_that_do_not_answer_for_several_reasons_are_all_heard():
    """The first one's reason, such as its few checkpoints, would be wrong about the others."""
    rule = VerdictRule(0.05, (1.0, 1.0), ("chance", "noise"))
    answer = film_result(9.0, np.zeros(99))
    short, constant = (ClaimTestResult(reason=reason) for reason in ("is short", "is constant"))
    films = [[short, short], [answer, constant], [short, constant]]
    [verdict] = judge([rule], [pool_films(films, rule)], several=True)
    assert verdict.reason == "none of 3 films answers: is short; is constant"


@pytest.mark.parametrize("number", [2, 3, 10])
def test_one_film_that_answers_is_no_pool(number):
    """However sure it is: its interval is about itself, and the others say nothing."""
    rule = VerdictRule(0.05, (1.0, 1.0), ("this", "that"))
    sure = [replace(film_result(9.0, np.zeros(99)), power=0.9)] * 2
    silent = [sure[0], ClaimTestResult(reason="no learning juncture")]
    films = [silent] * (number - 1) + [sure]
    [verdict] = judge([rule], [pool_films(films, rule)], several=True)
    assert (verdict.label, verdict.reason) == ("inconclusive", f"only 1 of {number} films answers")
    assert judge([rule], [pool_films([sure], rule)])[0].label == "supported"


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


def test_rates_are_of_p_values_before_their_correction_and_of_verdicts_after_it():
    """And those of pools follow the rule for several films: here, the effects may be 0."""
    claims = load_catalogue().some_claims(["spreader_hierarchy", "long_tailed_weights"])

    def films(p_value: float, effects: np.ndarray) -> list:
        shown = ClaimTestResult(
            null=0, lower=-1, upper=9, p_value=p_value, mid_p_value=p_value, power=1, least=0.001
        )
        return [[[replace(shown, value=e)] * len(c.tests) for c in claims] for e in effects]

    for count in _outcomes(claims, films(0.04, np.ones(7))):  # 0.08 if corrected
        assert (count["rejected"], count["supported"], count["inconclusive"]) == (7, 0, 7)
    spread = np.array([-9.0, 11, -9, 11, 1, 1, 1, 1, 1, 1])
    for share in _pooled_outcomes(claims, films(0.01, spread)):
        assert (share["pooled_rejected"], share["pooled_supported"]) == (1, 0)
    for share in _pooled_outcomes(claims, films(0.01, 1 + spread / 100)):
        assert (share["pooled_rejected"], share["pooled_supported"]) == (1, 1)


def test_the_pooled_interval_is_that_of_the_effects():
    films = [
        replace(film_result(value, np.zeros(19)), value=value, null=null)
        for value, null in ((1.0, 0.2), (1.4, 0.9), (2.0, 1.0))
    ]
    effects = np.array([0.8, 0.5, 1.0])
    half = t.ppf(0.975, 2) * effects.std(ddof=1) / np.sqrt(3)
    pooled = pool_tests(films, 1.0)
    assert pooled.effect == pytest.approx(effects.mean())
    assert (pooled.lower, pooled.upper) == pytest.approx(
        (effects.mean() - half, effects.mean() + half)
    )


def test_results_of_one_training_run_are_not_pooled():
    """They may start from the same weights, and be of one run on other tasks."""

    def trees(*revisions, tasks=("induction", "induction")):
        return {
            name: xr.DataTree(random_film(revisions=[*own], tasks=[task]))
            for name, own, task in zip(("first", "second"), revisions, tasks, strict=True)
        }

    check_independent(trees("abc", "ade"))
    check_independent(trees("abc", "abe", tasks=("induction", "bigram")))
    with pytest.raises(CntbenchError, match="2 checkpoints of it are those of first") as error:
        check_independent(trees("abc", "abe"))
    assert error.value.where == "second"
