"""Rates of verdicts on simulated films, and coverage of intervals, as a dataset.

False positives are rates on films for which a claim is false; power is the rate on films for which
it is true, by size of the effect, length of the film, and number of edges. p-values are counted
before the correction for the number of claims, verdicts after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from cntbench.analysis.calibration.kinds import KINDS, KNOWN, FilmKind
from cntbench.analysis.calibration.simulated import template
from cntbench.analysis.pooling import pool_films
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import ClaimTestResult, Verdict, draws_needed, examine, judge
from cntbench.dynamics.film import Film
from cntbench.dynamics.resampling import mean_interval
from cntbench.errors import CntbenchError
from cntbench.files.output import FileKind, has_attribute
from cntbench.parallel import Progress
from cntbench.parallel.processes import parallel_map

#: Title of the dataset.
TITLE = "Calibration of claims"
#: The file that ``cntbench calibrate -o`` writes.
CALIBRATION = FileKind("a calibration of claims", has_attribute("title", TITLE))
#: Series lengths and lag-one correlations for which the coverage is measured.
MOMENTS, CORRELATIONS = (10, 20, 40, 53, 143), (0.0, 0.5, 0.8, 0.9, 0.98)
#: Number of series for each.
_SERIES = 1000
#: Films whose verdicts are pooled, and random choices of so many of a setting's films.
POOLED, _CHOICES = 10, 100
_OUTCOMES = {
    "rejected": "films with a p-value of at most the claim's level, before correction",
    "supported": "films on which the claim is supported",
    "not_supported": "films on which it is not supported",
    "inconclusive": "films on which the verdict is inconclusive",
}
_POOLED = {
    "pooled_rejected": f"share of pools of {POOLED} films with a p-value of at most the level",
    "pooled_supported": f"share of pools of {POOLED} films on which the claim is supported",
    "pooled_not_supported": f"share of pools of {POOLED} films on which it is not supported",
}
#: Results of each claim's tests on a film.
Results = list[tuple[ClaimTestResult, ...]]


@dataclass(frozen=True)
class Setting:
    """Films of one kind, size of effect, length and shape.

    Parameters
    ----------
    size
        Size of the effect; None for films without an effect.
    """

    kind: str
    size: float | None
    checkpoints: int
    layers: int
    heads: int

    def base(self) -> Film:
        """Return a film of this shape, without any influence."""
        return template(layers=self.layers, heads=self.heads, checkpoints=self.checkpoints)

    def film(self, number: int) -> Film:
        """Return the film of a number, which is always the same."""
        kind = KINDS[self.kind]
        rng = np.random.default_rng([number, len(self.kind)])
        size = {} if self.size is None else {kind.knob: self.size}
        return kind.make(rng, self.base(), **size)


@dataclass(frozen=True)
class Trial:
    """One film of a setting, and the claims to test on it."""

    setting: Setting
    claims: tuple[Claim, ...]
    number: int
    draws: int

    def work(self) -> Results:
        """Return the results of each claim's tests."""
        return examine(
            self.setting.film(self.number),
            self.claims,
            seed=self.number,
            labels=[self.setting.kind],
            draws=self.draws,
        )


def settings(claims: Sequence[Claim]) -> dict[Setting, tuple[Claim, ...]]:
    """Return the settings that test some of the claims, with these claims."""
    claims_by_setting: dict[Setting, tuple[Claim, ...]] = {}
    for name, kind in KINDS.items():
        about = tuple(
            claim
            for claim in claims
            if claim.name in (*kind.false, *kind.true) or claim.name not in KNOWN
        )
        if about:
            claims_by_setting |= dict.fromkeys(_of_kind(name, kind), about)
    return claims_by_setting


def _of_kind(name: str, kind: FilmKind) -> list[Setting]:
    """Return a kind's settings: size, length and shape are varied one at a time."""
    shape, longest = kind.shapes[0], kind.lengths[-1]
    last = kind.sizes[-1] if kind.sizes else None
    chosen = [
        *((size, longest, shape) for size in kind.sizes or (None,)),
        *((last, length, shape) for length in kind.lengths[:-1]),
        *((last, longest, other) for other in kind.shapes[1:]),
    ]
    return [Setting(name, size, length, *shape) for size, length, shape in chosen]


def calibrate(
    chosen: Mapping[Setting, tuple[Claim, ...]],
    *,
    films: int,
    draws: int,
    jobs: int,
    progress: Progress,
) -> xr.Dataset:
    """Test claims on simulated films, some of `settings`.

    Raises a `CntbenchError` if there are too few draws to support every claim.

    Returns
    -------
    xarray.Dataset
        Dims ``case``: a claim in a setting. Coordinates ``claim, kind, content, truth, size,
        checkpoints, edges`` describe it; variables count the ``films`` with each outcome.
        ``coverage``, dims ``moments, correlation``, is the coverage of 95 % intervals of means.
    """
    least = max(
        (draws_needed(len(about), c.spec.level) for about in chosen.values() for c in about),
        default=0,
    )
    if draws < least:
        raise CntbenchError(
            f"{draws} draws cannot support every claim", hint=f"These claims need {least} draws."
        )
    trials = [
        Trial(setting, about, number, draws)
        for setting, about in chosen.items()
        for number in range(films)
    ]
    results: list[Results] = []
    progress("simulated films", 0, len(trials))
    for result in parallel_map(Trial.work, trials, jobs=jobs):
        results.append(result)
        progress("simulated films", len(results), len(trials))
    rows: list[dict[str, Any]] = []
    for number, (setting, about) in enumerate(chosen.items()):
        of_films = results[number * films : (number + 1) * films]
        edges = int(setting.base().feasible.sum())
        counts, shares = _outcomes(about, of_films), _pooled_outcomes(about, of_films)
        for claim, count, share in zip(about, counts, shares, strict=True):
            rows.append({**_labels(claim, setting), "edges": edges, **count, **share})
    return _dataset(rows, films=films, draws=draws)


def _outcomes(claims: Sequence[Claim], of_films: Sequence[Results]) -> list[dict[str, int]]:
    """Return the number of films with each outcome, for each claim."""
    rules = [claim.rule for claim in claims]
    return _counts(claims, [judge(rules, results) for results in of_films])


def _pooled_outcomes(
    claims: Sequence[Claim], of_films: Sequence[Results]
) -> list[dict[str, float]]:
    """Return the share of pools of films with each outcome, for each claim; NaN of too few films.

    The mean over random choices of films estimates the rate without bias.
    """
    if len(of_films) < POOLED:
        return [dict.fromkeys(_POOLED, np.nan)] * len(claims)
    rng, rules = np.random.default_rng(0), [claim.rule for claim in claims]

    @cache  # of few films, the same are chosen again
    def pooled(chosen: tuple[int, ...]) -> Sequence[Verdict]:
        pools = [
            pool_films([of_films[film][column] for film in chosen], rule)
            for column, rule in enumerate(rules)
        ]
        return judge(rules, pools, several=True)

    choices = (rng.choice(len(of_films), POOLED, replace=False) for _ in range(_CHOICES))
    verdicts = [pooled(tuple(sorted(chosen.tolist()))) for chosen in choices]
    return [
        {name: count[name.removeprefix("pooled_")] / _CHOICES for name in _POOLED}
        for count in _counts(claims, verdicts)
    ]


def _counts(claims: Sequence[Claim], verdicts: Sequence[Sequence[Verdict]]) -> list[dict[str, int]]:
    """Return how many of the verdicts on each claim are of each kind."""
    return [
        {
            "rejected": sum(verdict.p_value <= claim.spec.level for verdict in of_claim),
            **{
                name: sum(verdict.label == name.replace("_", " ") for verdict in of_claim)
                for name in list(_OUTCOMES)[1:]
            },
        }
        for claim, of_claim in zip(claims, zip(*verdicts, strict=True), strict=True)
    ]


def rate_interval(count: int, films: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate (Clopper and Pearson 1934)."""
    low, high = stats.binomtest(count, films).proportion_ci()
    return float(low), float(high)


def _labels(claim: Claim, setting: Setting) -> dict[str, Any]:
    kind = KINDS[setting.kind]
    truth = "false" if claim.name in kind.false else "true" if claim.name in kind.true else ""
    return {
        "claim": claim.name,
        "kind": setting.kind,
        "content": kind.content,
        "truth": truth,
        "size": np.nan if setting.size is None else setting.size,
        "checkpoints": setting.checkpoints,
    }


def _dataset(rows: Sequence[dict[str, Any]], *, films: int, draws: int) -> xr.Dataset:
    coordinates = ("claim", "kind", "content", "truth", "size", "checkpoints", "edges")
    meanings = {
        "truth": "whether the claim is true of these films; empty if nobody has said",
        "size": "size of the effect, in units of the kind of films",
    }
    covered = [[_coverage(count, correlation) for correlation in CORRELATIONS] for count in MOMENTS]
    return xr.Dataset(
        {
            **{
                name: ("case", [row[name] for row in rows], {"long_name": meaning, "units": "1"})
                for name, meaning in {**_OUTCOMES, **_POOLED}.items()
            },
            "coverage": (
                ("moments", "correlation"),
                covered,
                {"long_name": "share of 95 % intervals that hold the mean", "units": "1"},
            ),
        },
        coords={
            **{
                name: ("case", [row[name] for row in rows], {"long_name": meanings.get(name, name)})
                for name in coordinates
            },
            "moments": list(MOMENTS),
            "correlation": list(CORRELATIONS),
        },
        attrs={"title": TITLE, "films": films, "draws": draws},
    )


@cache
def _coverage(count: int, correlation: float) -> float:
    """Return the coverage of intervals of the mean of first-order autoregressions."""
    shocks = np.random.default_rng(count).standard_normal((count + 200, _SERIES))
    series = np.zeros_like(shocks)
    for at in range(1, len(series)):
        series[at] = correlation * series[at - 1] + shocks[at]
    bounds = np.array([mean_interval(row) for row in series[200:].T])
    return float(((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)).mean())
