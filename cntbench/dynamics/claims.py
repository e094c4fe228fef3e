"""Claims on a film: the result of each test, and the verdict that follows.

A claim holds if all its tests succeed (an intersection-union test: Berger 1982, "Multiparameter
hypothesis testing and acceptance sampling"), so its p-value is the largest of its tests' p-values.
A test's p-value is (1 + draws that reach the statistic) / (1 + draws). Its effect is the statistic
minus the mean under the null model; the effect's 95 % interval is the statistic's interval
(`Statistic.bounds`) shifted by the same mean. p-values are corrected for the number of claims
tested on the same film (Holm 1979).

=============  =============================================================================
supported      the corrected p-value is at most the claim's level, and every effect is at least
               the smallest that counts; over several films, its interval also lies above 0
not supported  some effect's interval lies below the smallest effect that counts, and the test
               would have found an effect of that size with probability 0.8 or more (its power)
inconclusive   everything else: too few checkpoints or draws, a question that the film does not
               answer, an interval that allows both, or too little power
=============  =============================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from cntbench.dynamics.claim import Claim, ClaimTest, VerdictRule
from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.nulls._draws import drawn_batches
from cntbench.dynamics.resampling import TAIL
from cntbench.dynamics.statistics._base import Statistic
from cntbench.metrics._base import TIE
from cntbench.prompts import seed_sequence

Label = Literal["supported", "not supported", "inconclusive"]


@dataclass(frozen=True)
class ClaimTestResult:
    """The result of a test on a film; all NaN if the film does not answer it.

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
    mid_p_value
        The same, with half of the draws that equal the statistic, and half of the film itself: what
        is pooled over films.
    power
        Probability of a p-value of at most 0.05 on similar films if the effect is the smallest that
        counts (`Statistic.power`).
    detectable
        Smallest effect for which that probability is 0.8; NaN if the statistic simulates its power.
    least
        Smallest p-value that the number of draws allows.
    reason
        Why the film does not answer the test; empty if it does.
    """

    value: float = np.nan
    null: float = np.nan
    lower: float = np.nan
    upper: float = np.nan
    p_value: float = np.nan
    mid_p_value: float = np.nan
    power: float = np.nan
    detectable: float = np.nan
    least: float = np.nan
    reason: str = ""

    @property
    def effect(self) -> float:
        """The statistic minus its mean under the null model."""
        return self.value - self.null


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, from one film or several.

    Parameters
    ----------
    label
        The verdict.
    reason
        Why the claim is not supported or inconclusive; empty if it is supported.
    p_value, corrected
        Largest p-value of the tests, before and after correction; NaN if a test is not answered.
    decisive
        Index of the test that decides: the one that fails, or the one with the largest p-value.
    """

    label: Label
    reason: str
    p_value: float
    corrected: float
    decisive: int


#: Statistic, null model, and smallest effect that counts.
TestKey = tuple[Statistic, str, float]
#: p-value at which an effect counts as found, for a test's power; sufficient power.
LEVEL, ENOUGH = 0.05, 0.8


def examine(
    film: Film, claims: Sequence[Claim], *, seed: int, labels: Sequence[str], draws: int
) -> list[tuple[ClaimTestResult, ...]]:
    """Return the results of each claim's tests.

    ``seed`` and ``labels`` determine the ``draws`` from each null model.
    """
    tests = {
        _key(test): test for claim in claims if len(film) >= claim.needs for test in claim.tests
    }
    results = {key: _own_result(film, test, seed, labels, draws) for key, test in tests.items()}
    open_tests = [t for key, t in tests.items() if not (t.own_null or results[key].reason)]
    results |= _film_null_results(film, open_tests, seed, labels, draws)
    return [
        tuple(
            results.get(
                _key(test),
                ClaimTestResult(reason=f"needs {claim.needs} checkpoints, has {len(film)}"),
            )
            for test in claim.tests
        )
        for claim in claims
    ]


def judge(
    rules: Sequence[VerdictRule],
    results: Sequence[Sequence[ClaimTestResult]],
    *,
    several: bool = False,
) -> list[Verdict]:
    """Return the verdicts on claims that were tested on the same films.

    Parameters
    ----------
    several
        Whether intervals are over several films. They then show whether an effect is more than
        chance in a few films.
    """
    largest = np.array([max_or_nan(test.p_value for test in tests) for tests in results])
    corrected = holm(largest)
    answered = int((~np.isnan(largest)).sum())
    return [
        _verdict(rule, tests, float(p), float(q), answered, several=several)
        for rule, tests, p, q in zip(rules, results, largest, corrected, strict=True)
    ]


def holm(p_values: Array) -> Array:
    """Return p-values corrected for their number; NaN is ignored and stays NaN.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(3)
    array([0.03, 0.06,  nan, 0.06])
    """
    corrected = np.full(len(p_values), np.nan)
    defined = np.flatnonzero(~np.isnan(p_values))
    order = defined[np.argsort(p_values[defined], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def draws_needed(claims: int, level: float = LEVEL) -> int:
    """Return the draws needed for a p-value of at most the level after Holm's correction.

    Examples
    --------
    >>> draws_needed(1), draws_needed(5)
    (19, 99)
    """
    return math.ceil(claims / level - TIE) - 1


def max_or_nan(values: Iterable[float]) -> float:
    """Return the largest number, or NaN if any is NaN."""
    return float(np.max(list(values)))


def _verdict(
    rule: VerdictRule,
    tests: Sequence[ClaimTestResult],
    p_value: float,
    corrected: float,
    answered: int,
    *,
    several: bool,
) -> Verdict:
    """Return the verdict on one of the ``answered`` claims for which p-values are corrected."""

    def verdict(label: Label, reason: str, decisive: int) -> Verdict:
        return Verdict(label, reason, p_value, corrected, decisive)

    numbered = [*enumerate(zip(rule.minimum, tests, strict=True))]
    for number, (_, test) in numbered:
        if test.reason:
            return verdict("inconclusive", test.reason, number)
    for number, (minimum, test) in numbered:
        if test.upper < minimum and test.power >= ENOUGH:
            present = test.value >= minimum
            explained = f"is explained by {rule.rules_out[number]}"
            reason = explained if present else "is smaller than the claim requires"
            sought = "such an effect" if np.isnan(test.detectable) else f"{minimum:g}"
            power = f"; {sought} would be found with probability {test.power:.2f}"
            return verdict("not supported", reason + power, number)
    for number, (minimum, test) in numbered:
        if test.upper < minimum:
            return verdict("inconclusive", _weak(test), number)
    for number, (minimum, test) in numbered:
        if test.effect < minimum:
            unclear = f"is not clearly {minimum:g} or more, which the claim requires"
            return verdict("inconclusive", unclear, number)
        if several and test.lower <= 0:
            return verdict("inconclusive", "may be 0", number)
    # Among tests with equal p-values, the last is the most specific one.
    weakest = max(range(len(tests)), key=lambda number: (tests[number].p_value, number))
    if corrected > rule.level:
        if p_value <= max_or_nan(test.least for test in tests):
            # Each film of several needs fewer draws than one film alone.
            draws = "more" if several else draws_needed(answered, rule.level)
            few = f"cannot be told from chance in so few draws: {draws} are needed"
            return verdict("inconclusive", few, weakest)
        return verdict("inconclusive", f"may be explained by {rule.rules_out[weakest]}", weakest)
    return verdict("supported", "", weakest)


def _weak(test: ClaimTestResult) -> str:
    """Return the reason for a verdict without power: the effect may be missed."""
    power = "" if np.isnan(test.power) else f" with probability {1 - test.power:.1f}"
    return f"is not seen, but may be missed{power}: more checkpoints, prompts or seeds may tell"


def _own_result(
    film: Film, test: ClaimTest, seed: int, labels: Sequence[str], draws: int
) -> ClaimTestResult:
    """Test against one of the statistic's own null models; otherwise return only the value."""
    statistic, null = test.statistic, test.spec.null
    try:
        series = statistic.series(film)
        if not test.own_null:
            return ClaimTestResult(value=float(series.mean()))
        rng = _rng(seed, labels, null, repr(statistic))
        return _result(film, test, series, statistic.draws(film, null, rng, draws), rng)
    except Undefined as undefined:
        return ClaimTestResult(reason=str(undefined))


def _key(test: ClaimTest) -> TestKey:
    return test.statistic, test.spec.null, test.spec.minimum


def _film_null_results(
    film: Film, tests: Sequence[ClaimTest], seed: int, labels: Sequence[str], draws: int
) -> dict[TestKey, ClaimTestResult]:
    """Test against null models of films, each drawn once for all statistics.

    Every statistic's interval has its own random stream, so no result depends on the other
    statistics that are tested.
    """
    results: dict[TestKey, ClaimTestResult] = {}
    for null in dict.fromkeys(test.spec.null for test in tests):
        against = [test for test in tests if test.spec.null == null]
        statistics = [test.statistic for test in against]
        drawn = _drawn(film, null, statistics, _rng(seed, labels, null), draws)
        for test, values in zip(against, drawn, strict=True):
            if not len(values):
                result = ClaimTestResult(reason="no untrained models were measured")
            else:
                rng = _rng(seed, labels, null, repr(test.statistic))
                result = _result(film, test, test.statistic.series(film), values, rng)
            results[_key(test)] = result
    return results


def _drawn(
    film: Film, null: str, statistics: Sequence[Statistic], rng: np.random.Generator, draws: int
) -> Array:
    """Return statistics of films drawn from a null model, dims ``statistic, draw``."""
    values: list[list[float]] = []
    for batch in drawn_batches(film, null, rng, draws):
        for weights in batch:
            if len(weights) < len(film):  # one graph for all checkpoints
                weights = np.where(np.isnan(film.weights), np.nan, weights)
            drawn_film = film.with_weights(weights)
            values.append([_mean(statistic, drawn_film) for statistic in statistics])
    return np.array(values).reshape(-1, len(statistics)).T


def _mean(statistic: Statistic, film: Film) -> float:
    try:
        return float(statistic.series(film).mean())
    except Undefined:
        return np.nan


def _result(
    film: Film, test: ClaimTest, series: Array, drawn: Array, rng: np.random.Generator
) -> ClaimTestResult:
    """Compare a statistic with its draws under the null model."""
    if not np.isfinite(series).all():
        return ClaimTestResult(reason="is not defined on this film")
    if np.isnan(drawn).any():
        reason = f"is not defined under the null model {test.spec.null!r}"
        return ClaimTestResult(reason=reason)
    value, null = float(series.mean()), float(drawn.mean())
    compared = max(value, test.statistic.floor)
    slack = TIE * max(abs(compared), 1e-300)
    reached, beyond = ((drawn >= compared + by).sum() for by in (-slack, slack))
    spread = test.statistic.spread(film, rng)
    lower, upper = test.statistic.bounds(series, drawn if spread is None else spread)
    error = (upper - lower) / 2 / NormalDist().inv_cdf(1 - TAIL)
    # Number of draws that may reach the statistic while its p-value is at most the level.
    allowed = int(LEVEL * (1 + len(drawn)) + TIE) - 1
    needed = float(np.sort(drawn)[-1 - allowed]) - null if allowed >= 0 else np.inf
    lower, upper = np.clip([lower, upper], *test.statistic.limits).tolist()
    minimum = test.spec.minimum
    # A power that a statistic simulates says nothing of effects other than the smallest.
    simulated = type(test.statistic).power is not Statistic.power
    return ClaimTestResult(
        value=value,
        null=null,
        lower=lower - null,
        upper=upper - null,
        p_value=float((1 + reached) / (1 + len(drawn))),
        mid_p_value=float((1 + reached + beyond) / 2 / (1 + len(drawn))),
        power=test.statistic.power(film, minimum, needed, error, rng),
        detectable=np.nan if simulated else needed + NormalDist().inv_cdf(ENOUGH) * error,
        least=1 / (1 + len(drawn)),
    )


def _rng(seed: int, labels: Sequence[str], *names: str) -> np.random.Generator:
    return np.random.default_rng(seed_sequence(seed, *labels, "claims", *names))
