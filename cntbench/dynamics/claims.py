"""Claims on a film: what each test finds, and what a claim is worth by it.

A claim stands if all its tests succeed (an intersection-union test: Berger 1982, "Multiparameter
hypothesis testing and acceptance sampling"), so that its p-value is the largest of theirs. A test's
p-value is (1 + draws that reach the statistic) / (1 + draws), its effect the statistic less its
mean under the null model, and the effect's 95 % interval the statistic's (`Statistic.bounds`),
moved alike. p-values are corrected for the number of claims that are tested on the same film (Holm
1979).

=============  =============================================================================
supported      the corrected p-value is at most the claim's level, and every effect at least the
               smallest that counts; over several films, its interval lies above 0, too
not supported  some effect's interval lies below the smallest effect that counts: the film was
               long enough to see one, and it is not there
inconclusive   everything else: too few checkpoints, a question that the film does not answer,
               or an interval with room for both
=============  =============================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cntbench import plugins
from cntbench.dynamics.claim import Claim, ClaimTest, Rule
from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.nulls._draws import batches
from cntbench.dynamics.statistics._base import Statistic
from cntbench.dynamics.undefined import Undefined
from cntbench.metrics._ties import TIE
from cntbench.prompts import seed_sequence

Label = Literal["supported", "not supported", "inconclusive"]


@dataclass(frozen=True)
class ClaimTestResult:
    """What a test finds on a film; NaN throughout if it is not answered.

    Parameters
    ----------
    value
        The statistic.
    null
        Its mean under the null model.
    lower, upper
        Bounds of the effect's interval.
    p_value
        One-sided: how often the null model reaches the statistic.
    reason
        Why it is not answered, or empty.
    """

    value: float = np.nan
    null: float = np.nan
    lower: float = np.nan
    upper: float = np.nan
    p_value: float = np.nan
    reason: str = ""

    @property
    def effect(self) -> float:
        """The statistic less its mean under the null model."""
        return self.value - self.null


@dataclass(frozen=True)
class Verdict:
    """What a claim is worth on a film, or on several.

    Parameters
    ----------
    label
        The verdict.
    reason
        Why it is not supported or inconclusive; empty if it is supported.
    p_value, corrected
        Largest of the tests', before and after correction; NaN if one is not answered.
    decisive
        Number of the test that decides: the one that fails, or the one with the largest p-value.
    """

    label: Label
    reason: str
    p_value: float
    corrected: float
    decisive: int


def examine(
    film: Film, claims: Sequence[Claim], *, seed: int, labels: Sequence[str], draws: int
) -> list[tuple[ClaimTestResult, ...]]:
    """Return what the tests of each claim find.

    Parameters
    ----------
    film
        What is claimed about.
    claims
        Their tests.
    seed, labels
        Fix the random draws.
    draws
        Number of draws from each null model.
    """
    asked = {
        (test.statistic, test.spec.null): test
        for claim in claims
        if len(film) >= claim.needs
        for test in claim.tests
    }
    found = {key: _found(film, test, seed, labels, draws) for key, test in asked.items()}
    found |= _against_films(film, found, asked, seed, labels, draws)
    return [
        tuple(
            found.get(
                (test.statistic, test.spec.null),
                ClaimTestResult(reason=f"needs {claim.needs} checkpoints, has {len(film)}"),
            )
            for test in claim.tests
        )
        for claim in claims
    ]


def judge(
    claims: Sequence[Claim], found: Sequence[Sequence[ClaimTestResult]], *, several: bool = False
) -> list[Verdict]:
    """Return the verdicts on claims that were tested on the same film, or on the same films.

    Parameters
    ----------
    claims
        The claims.
    found
        What the tests of each one find.
    several
        Whether intervals are over several films, so that they say whether an effect is more than
        what some films happen to have.
    """
    return judge_by([claim.rule for claim in claims], found, several=several)


def judge_by(
    rules: Sequence[Rule], found: Sequence[Sequence[ClaimTestResult]], *, several: bool = False
) -> list[Verdict]:
    """Return what `judge` does, of claims of which there are only the rules."""
    largest = np.array([max_or_nan(test.p_value for test in tests) for tests in found])
    corrected = holm(largest)
    return [
        _verdict(rule, tests, float(p), float(q), several)
        for rule, tests, p, q in zip(rules, found, largest, corrected, strict=True)
    ]


def holm(p_values: Array) -> Array:
    """Return p-values corrected for their number; NaN are none, and stay.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(3)
    array([0.03, 0.06,  nan, 0.06])
    """
    corrected = np.full(len(p_values), np.nan)
    at = np.flatnonzero(~np.isnan(p_values))
    order = at[np.argsort(p_values[at], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def max_or_nan(values: Iterable[float]) -> float:
    """Return the largest of some numbers, NaN if one of them is."""
    return float(np.max(list(values)))


def _verdict(
    rule: Rule, found: Sequence[ClaimTestResult], p_value: float, corrected: float, several: bool
) -> Verdict:
    for place, one in enumerate(found):
        if one.reason:
            return Verdict("inconclusive", one.reason, p_value, corrected, place)
    # Of tests that are equally far from being rejected, the last is the most particular one.
    p_values = [one.p_value for one in found]
    weakest = max(range(len(found)), key=lambda place: (p_values[place], place))
    for place, (minimum, one) in enumerate(zip(rule.minimum, found, strict=True)):
        if one.upper < minimum:
            there = one.value >= minimum
            reason = f"explained by {rule.rules_out[place]}" if there else "no such effect"
            return Verdict("not supported", reason, p_value, corrected, place)
    for place, (minimum, one) in enumerate(zip(rule.minimum, found, strict=True)):
        if one.effect < minimum:
            reason = f"less than {minimum:g}, but not clearly"
            return Verdict("inconclusive", reason, p_value, corrected, place)
        if several and one.lower <= 0:
            return Verdict("inconclusive", "may be 0", p_value, corrected, place)
    if corrected > rule.level:
        reason = f"may be {rule.rules_out[weakest]}"
        return Verdict("inconclusive", reason, p_value, corrected, weakest)
    return Verdict("supported", "", p_value, corrected, weakest)


def _found(
    film: Film, test: ClaimTest, seed: int, labels: Sequence[str], draws: int
) -> ClaimTestResult:
    """Test against a null model of the statistic's own; of others, return the value alone."""
    statistic, null = test.statistic, test.spec.null
    try:
        series = statistic.series(film)
        if not test.own_null:
            return ClaimTestResult(value=float(series.mean()))
        rng = _rng(seed, labels, null, repr(statistic))
        return _held(film, statistic, series, statistic.draws(film, null, rng, draws), rng)
    except Undefined as undefined:
        return ClaimTestResult(reason=str(undefined))


def _against_films(
    film: Film,
    found: dict[tuple[Statistic, str], ClaimTestResult],
    asked: dict[tuple[Statistic, str], ClaimTest],
    seed: int,
    labels: Sequence[str],
    draws: int,
) -> dict[tuple[Statistic, str], ClaimTestResult]:
    """Test against null models of films, each drawn once for all statistics.

    Every statistic's interval has its own stream of random numbers: which other ones are tested
    changes nothing.
    """
    open_tests = [key for key, test in asked.items() if not (test.own_null or found[key].reason)]
    results: dict[tuple[Statistic, str], ClaimTestResult] = {}
    for null in dict.fromkeys(null for _, null in open_tests):
        statistics = [statistic for statistic, name in open_tests if name == null]
        drawn = _drawn(film, null, statistics, _rng(seed, labels, null), draws)
        for statistic, values in zip(statistics, drawn, strict=True):
            key = (statistic, null)
            if not len(values):
                results[key] = ClaimTestResult(reason="no untrained models were measured")
            elif np.isnan(values).any():
                results[key] = ClaimTestResult(
                    reason=f"is not defined under the null model {null!r}"
                )
            else:
                rng = _rng(seed, labels, null, repr(statistic))
                results[key] = _held(film, statistic, statistic.series(film), values, rng)
    return results


def _drawn(
    film: Film,
    null: str,
    statistics: Sequence[Statistic],
    rng: np.random.Generator,
    draws: int,
) -> Array:
    """Return statistics of films drawn from a null model, dims ``statistic, draw``."""
    module = plugins.find("null model", null)
    values: list[list[float]] = []
    for some in batches(film, draws):
        for weights in module.draw(film, rng, some.stop - some.start):
            one = film.with_weights(weights)
            values.append([_mean(statistic, one) for statistic in statistics])
        if null == "untrained":  # there are no more of them than were measured
            break
    return np.array(values).reshape(-1, len(statistics)).T


def _mean(statistic: Statistic, film: Film) -> float:
    try:
        return float(statistic.series(film).mean())
    except Undefined:
        return np.nan


def _held(
    film: Film, statistic: Statistic, series: Array, drawn: Array, rng: np.random.Generator
) -> ClaimTestResult:
    """Hold a statistic against draws of it."""
    value, null = float(series.mean()), float(drawn.mean())
    reached = drawn >= value - TIE * max(abs(value), 1e-300)
    lower, upper = statistic.bounds(film, series, drawn, rng)
    return ClaimTestResult(
        value=value,
        null=null,
        lower=lower - null,
        upper=upper - null,
        p_value=float((1 + reached.sum()) / (1 + len(drawn))),
    )


def _rng(seed: int, labels: Sequence[str], *names: str) -> np.random.Generator:
    return np.random.default_rng(seed_sequence(seed, *labels, "claims", *names))
