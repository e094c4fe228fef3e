"""Tests of claims pooled over the films of several training runs.

The pooled effect of a test is the mean over the films, with Student's interval over the films; a
single film keeps its own interval. The pooled p-value is Stouffer's, with equal weights, of the
films' mid-p-values (Lancaster 1961): a p-value from draws is discrete, and one of 1, the last rank
or a tie with most draws, would otherwise outweigh all others (``docs/calibration.md``). The pooled
power is that of simulated pools (`_pooled_power`).

Sources: Stouffer et al. 1949, "The American soldier", vol. 1; Lancaster 1961, "Significance tests
in discrete distributions".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy import special

from cntbench.analysis.intervals import t_interval
from cntbench.dynamics.claim import VerdictRule
from cntbench.dynamics.claims import ENOUGH, LEVEL, ClaimTestResult
from cntbench.dynamics.film import Array
from cntbench.dynamics.resampling import TAIL
from cntbench.metrics._base import TIE

#: Simulated pools, and halvings of the range in which the detectable effect is sought.
_POOLS, _HALVINGS = 1000, 14
#: z-score of a p-value of `LEVEL`.
_FOUND = special.ndtri(1 - LEVEL)


def pool_films(
    films: Sequence[Sequence[ClaimTestResult]], rule: VerdictRule
) -> Sequence[ClaimTestResult]:
    """Pool the films that answer all tests of a claim; one of several is no pool."""
    answering = [tests for tests in films if not any(test.reason for test in tests)]
    if len(films) > 1 == len(answering):
        return [ClaimTestResult(reason=f"only 1 of {len(films)} films answers")] * len(films[0])
    if not answering:
        reasons = dict.fromkeys(next(filter(None, (t.reason for t in tests))) for tests in films)
        if len(reasons) > 1:
            reason = f"none of {len(films)} films answers: {'; '.join(reasons)}"
            return [ClaimTestResult(reason=reason)] * len(films[0])
    if len(answering) < 2:
        return films[0]
    return [*map(pool_tests, zip(*answering, strict=True), rule.minimum)]


def pool_tests(tests: Sequence[ClaimTestResult], minimum: float) -> ClaimTestResult:
    """Pool the results of one test over films."""
    _, lower, upper = t_interval([test.effect for test in tests])
    least = np.array([test.least for test in tests]) / 2
    mid = np.array([test.mid_p_value for test in tests])
    root = np.sqrt(len(tests))
    pooled, smallest = (
        float(special.ndtr(special.ndtri(values).sum() / root)) for values in (mid, least)
    )
    power, detectable = _pooled_power(tests, minimum)
    return ClaimTestResult(
        value=float(np.mean([test.value for test in tests])),
        null=float(np.mean([test.null for test in tests])),
        lower=lower,
        upper=upper,
        p_value=pooled,
        mid_p_value=pooled,
        power=power,
        detectable=detectable,
        least=smallest,
    )


def _pooled_power(tests: Sequence[ClaimTestResult], minimum: float) -> tuple[float, float]:
    """Return the share of simulated pools that find an effect, and the effect that 0.8 find.

    A film's effect is normal about that of the pool, with the film's standard error e; if effects
    scatter more over the films than that, with their standard deviation. Its z-score is the effect
    in units of the null model's scatter, which is that of a normal one that needs as large an
    effect for a p-value of `LEVEL`; at most as large as the draws allow. Where a film's power was
    simulated, and no effect is known to be detectable, its z-score is the largest one with the
    probability of that power, and else one that the null model gives to films that miss the effect.
    """
    places = _places(len(tests))
    largest = -special.ndtri([test.least / 2 for test in tests])
    detectable = np.array([test.detectable for test in tests])
    if np.isnan(detectable).any():
        power = np.array([test.power for test in tests])
        missed = special.ndtri((places - power) / np.maximum(1 - power, TIE) * (1 - LEVEL))
        return _found(np.where(places < power, largest, missed)), np.nan
    error = np.array([test.upper - test.lower for test in tests]) / 2 / special.ndtri(1 - TAIL)
    needed = detectable - special.ndtri(ENOUGH) * error
    scatter = np.std([test.effect for test in tests], ddof=1)
    noise = special.ndtri(places) * error * max(1, scatter / max(error.mean(), TIE))
    unit = np.maximum(needed, TIE) / _FOUND

    def power_at(effect: float) -> float:
        return _found(np.clip((effect + noise) / unit, -largest, largest))

    high = float(np.abs(noise).max() + np.abs(needed).max() + TIE)
    low = -high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(middle) >= ENOUGH else (middle, high)
    return power_at(minimum), high


def _found(z_scores: Array) -> float:
    """Return the share of pools whose p-value is at most `LEVEL`, dims ``pool, film``."""
    return float((z_scores.sum(axis=1) >= _FOUND * np.sqrt(z_scores.shape[1])).mean())


@cache
def _places(films: int) -> Array:
    """Return uniform draws, evenly spread for each film (a Latin hypercube), ``pool, film``."""
    grid = np.repeat(np.arange(_POOLS)[:, None], films, axis=1)
    return (np.random.default_rng(0).permuted(grid, axis=0) + 0.5) / _POOLS
