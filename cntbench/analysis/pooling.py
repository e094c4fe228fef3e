"""Tests of claims pooled over the films of several training runs.

The pooled effect of a test is the mean over the films, with Student's interval over the films; a
single film keeps its own interval. The pooled p-value is Stouffer's, with equal weights, of the
films' mid-p-values (Lancaster 1961): a p-value from draws is discrete, and one of 1, the last rank
or a tie with most draws, would otherwise outweigh all others (``docs/calibration.md``). Both the
standard error of a mean over n films and the effect that a test needs are 1 / √n of those of a
film; the pooled power follows. If effects scatter more over the films than in each, their standard
deviation is the error.

Sources: Stouffer et al. 1949, "The American soldier", vol. 1; Lancaster 1961, "Significance tests
in discrete distributions".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from cntbench.analysis.intervals import t_interval
from cntbench.dynamics.claim import VerdictRule
from cntbench.dynamics.claims import ENOUGH, LEVEL, ClaimTestResult
from cntbench.dynamics.resampling import TAIL
from cntbench.metrics._arithmetic import divide

#: Mean and variance of a normal z-score that is too small for a p-value of at most `LEVEL`.
_MISSED = -0.109, 0.81


def pool_films(
    films: Sequence[Sequence[ClaimTestResult]], rule: VerdictRule
) -> Sequence[ClaimTestResult]:
    """Pool the films that answer all tests of a claim."""
    answering = [tests for tests in films if not any(test.reason for test in tests)]
    if len(answering) < 2:
        return (answering or films)[0]
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
    """Return the power and the detectable effect of the combined p-value of several films.

    With m the smallest effect that counts, e the standard error of a film and c the effect that a
    test needs, a film's power is Φ((m − c) / e), and that of n films Φ((√n m − c) / e). c / e
    counts at most as much as normal null models give, so that the power is rather too small. Where
    a film's power is another, because it was simulated, a film has the smallest p-value if the
    effect is found, and one as under the null model if not.
    """
    root, quantile = np.sqrt(len(tests)), special.ndtri
    error = np.array([test.upper - test.lower for test in tests]) / 2 / quantile(1 - TAIL)
    needed = np.array([test.detectable for test in tests]) - quantile(ENOUGH) * error
    total = max(float(error.mean()), float(np.std([test.effect for test in tests], ddof=1)))
    detectable = (needed.mean() + quantile(ENOUGH) * total) / root
    power = np.array([test.power for test in tests])
    distance = divide(minimum - needed, error, 0.0)
    if np.allclose(power, special.ndtr(distance), atol=0.02):
        needed_errors = divide(needed, error, 0.0)
        gain = (root - 1) * np.clip(needed_errors, 0, quantile(1 - LEVEL)).mean()
        pooled = root * distance.mean() + gain
        pooled *= error.mean() / total if pooled > 0 else 1
        if error.all():  # the effect for which the same formula gives this power
            distance_found = (quantile(ENOUGH) * total / error.mean() - gain) / root
            detectable = (distance_found + needed_errors.mean()) / (1 / error).mean()
    else:
        z_found, (z_missed, variance) = -quantile([t.least / 2 for t in tests]), _MISSED
        z_score = power * z_found + (1 - power) * z_missed
        spread = power * (z_found - z_missed) ** 2 + variance
        deviation = np.sqrt(np.mean((1 - power) * spread))
        pooled = (root * z_score.mean() - quantile(1 - LEVEL)) / max(deviation, 1e-3)
    return float(special.ndtr(pooled)), float(detectable)
