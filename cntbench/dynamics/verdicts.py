"""The groups ``phases`` and ``claims`` of a result, and the merging of verdicts on one film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.dynamics.claim import Claim, VerdictRule
from cntbench.dynamics.claims import ClaimTestResult, Verdict, judge
from cntbench.dynamics.film import Array
from cntbench.dynamics.junctures import ALIGNMENT
from cntbench.dynamics.phases import Phases
from cntbench.dynamics.segments import MOST
from cntbench.dynamics.statistics.stability_gap import LAGS
from cntbench.dynamics.trajectory import FEATURES
from cntbench.files.attributes import described

#: Dims of phases that the root does not have.
SIZES = {
    "boundary": MOST,
    "phase": MOST + 1,
    "change_points": MOST,
    "feature": len(FEATURES),
    "lag": len(LAGS),
}
#: Variables about phases: dims after ``task, ablation``, and meaning.
OF_PHASES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "count": ((), "number of phases; 1 if there are no boundaries"),
    "p_value": ((), "how often trajectories without change points have such phases"),
    "advantage": (("change_points",), "advantage over a smooth curve, nat per value"),
    "boundary_step": (("boundary",), "step of the first checkpoint of a new phase"),
    "boundary_lower": (("boundary",), "lower bound of its 95 % interval"),
    "boundary_upper": (("boundary",), "upper bound of its 95 % interval"),
    "trajectory": (("checkpoint", "feature"), "standardised metric trajectory"),
    "readout_step": (("readout",), ALIGNMENT["readout_step"]),
    "readout_distance": (("readout", "boundary"), ALIGNMENT["readout_distance"]),
    "readout_chance": (("readout",), ALIGNMENT["readout_chance"]),
    "stability_gap": (("lag",), "stability of spreaders' order minus gatherers', among peers"),
    "stability_gap_lower": (("lag",), "lower bound of its 95 % interval"),
    "stability_gap_upper": (("lag",), "upper bound of its 95 % interval"),
}
#: Variables about every claim, and about every test.
OF_CLAIMS = {
    "p_value": "largest p-value of the tests",
    "corrected_p_value": "the same, corrected for the number of claims (Holm)",
    "decisive": "the test that decides, from 1",
}
OF_TESTS = {
    "value": "the statistic",
    "null": "its mean under the null model",
    "lower": "lower bound of the effect's 95 % interval",
    "upper": "upper bound of the effect's 95 % interval",
    "p_value": "p-value of the test, one-sided",
    "mid_p_value": "the same, with ties and the film itself counted half: what is pooled",
    "power": "probability of finding the smallest effect that counts, at a p-value of 0.05",
    "detectable": "smallest effect that is found with probability 0.8",
    "least": "smallest p-value that the number of draws allows",
}
#: Values of missing tests, by kind of dtype.
_EMPTY: dict[str, Any] = {"O": "", "U": "", "T": "", "f": np.nan, "i": 0, "u": 0}


@dataclass(frozen=True)
class CellVerdicts:
    """Phases and verdicts of one task and one ablation.

    Parameters
    ----------
    cell
        Indices of task and ablation.
    step
        Steps of the usable checkpoints.
    usable
        Their indices in the dataset.
    phases, alignment
        Phases, and where their boundaries lie (`cntbench.dynamics.junctures.align`).
    gaps
        The gap in stability over lags (`cntbench.dynamics.statistics.stability_gap.over_lags`).
    results, verdicts
        By claim.
    """

    cell: tuple[int, int]
    step: NDArray[np.int64]
    usable: NDArray[np.int64]
    phases: Phases
    alignment: Mapping[str, Array]
    gaps: Array
    results: Sequence[Sequence[ClaimTestResult]]
    verdicts: Sequence[Verdict]


def phase_group(root: xr.Dataset, cells: Sequence[CellVerdicts]) -> xr.Dataset:
    """Return the phases of every cell; NaN and empty names where there are none."""
    sizes = {**{str(dim): size for dim, size in root.sizes.items()}, **SIZES}
    group = {}
    for name, (own_dims, meaning) in OF_PHASES.items():
        dims = ("task", "ablation", *own_dims)
        values = np.full([sizes[dim] for dim in dims], np.nan)
        group[name] = xr.Variable(dims, values, described(name, meaning, "1"))
    names = np.full([sizes[dim] for dim in ("task", "ablation", "phase")], "", dtype=object)
    for part in cells:
        cell, phases = part.cell, part.phases
        group["count"].values[cell] = phases.count if len(part.step) else np.nan
        group["p_value"].values[cell] = phases.p_value
        group["advantage"].values[cell][: len(phases.advantage)] = phases.advantage
        for name, checkpoints in (
            ("step", phases.boundaries),
            ("lower", phases.lower),
            ("upper", phases.upper),
        ):
            group[f"boundary_{name}"].values[cell][: len(checkpoints)] = part.step[checkpoints]
        group["trajectory"].values[cell][part.usable] = phases.features
        for end, row in zip(("", "_lower", "_upper"), part.gaps.T, strict=True):
            group[f"stability_gap{end}"].values[cell] = row
        for name, values in part.alignment.items():
            group[name].values[cell][..., : values.shape[-1]] = values
        names[cell][: phases.count] = phases.names
    about = described("phase", "name of the phase, empty where no criteria fit")
    group["phase_name"] = xr.Variable(("task", "ablation", "phase"), names, about)
    return xr.Dataset(
        group,
        coords={
            "feature": ("feature", list(FEATURES), {"long_name": "metric of the trajectory"}),
            "feature_meaning": ("feature", list(FEATURES.values()), {"long_name": "what it is"}),
            "lag": ("lag", list(LAGS), {"long_name": "lag, as a share of the film", "units": "1"}),
            "change_points": ("change_points", np.arange(1, MOST + 1), {"units": "1"}),
        },
    )


def claim_group(
    root: xr.Dataset, claims: Sequence[Claim], cells: Sequence[CellVerdicts]
) -> xr.Dataset:
    """Return tests and verdicts of every cell, dims ``task, ablation, claim, test``."""
    shape = [root.sizes["task"], root.sizes["ablation"], len(claims)]
    tests = max(len(claim.tests) for claim in claims)
    labels = {name: np.full(shape, "", dtype=object) for name in ("verdict", "reason")}
    of_claims = {name: np.full(shape, np.nan) for name in OF_CLAIMS}
    of_tests = {name: np.full([*shape, tests], np.nan) for name in OF_TESTS}
    test_reason = np.full([*shape, tests], "", dtype=object)
    checkpoints = np.zeros(shape[:2], dtype=np.int64)
    for part in cells:
        checkpoints[part.cell] = len(part.step)
        for number, (results, verdict) in enumerate(zip(part.results, part.verdicts, strict=True)):
            for name, value in _values(verdict).items():
                (labels if name in labels else of_claims)[name][(*part.cell, number)] = value
            for test, result in enumerate(results):
                test_reason[(*part.cell, number, test)] = result.reason
                for name in OF_TESTS:
                    of_tests[name][(*part.cell, number, test)] = getattr(result, name)
    dims = ("task", "ablation", "claim")
    variables: dict[str, Any] = {
        "verdict": (dims, labels["verdict"], {"long_name": "verdict on the claim"}),
        "reason": (dims, labels["reason"], {"long_name": "why it is not supported"}),
        "checkpoints": (dims[:2], checkpoints, {"long_name": "usable checkpoints", "units": "1"}),
        "test_reason": ((*dims, "test"), test_reason, {"long_name": "why a test is not answered"}),
    }
    for name, meaning in OF_CLAIMS.items():
        variables[name] = (dims, of_claims[name], described(name, meaning, "1"))
    for name, meaning in OF_TESTS.items():
        about = described(name, meaning, "1")
        variables[f"test_{name}"] = ((*dims, "test"), of_tests[name], about)
    return xr.Dataset(variables, coords=_coordinates(claims, tests))


def merge_verdicts(earlier: xr.Dataset, later: xr.Dataset) -> xr.Dataset:
    """Merge two groups ``claims`` of one film.

    If both have a claim, the later one is kept. p-values are corrected again for the new number of
    claims, and verdicts follow from them.
    """
    known = [str(name) for name in earlier["claim"].values]
    new = [str(name) for name in later["claim"].values]
    unchanged = [number for number, name in enumerate(known) if name not in new]
    if not unchanged:
        return later
    tests = max(earlier.sizes["test"], later.sizes["test"])
    parts = [_with_tests(earlier.isel(claim=unchanged), tests), _with_tests(later, tests)]
    both = xr.concat(parts, dim="claim", data_vars="minimal", coords="minimal", compat="override")
    names = [str(name) for name in both["claim"].values]
    order = [names.index(name) for name in dict.fromkeys([*known, *new])]
    merged = both.isel(claim=order).assign_attrs(later.attrs)
    for task, ablation in np.ndindex(*merged["verdict"].shape[:-1]):
        _judge_again(merged, (task, ablation))
    return merged


def claim_results(cell: xr.Dataset, claim: int) -> list[ClaimTestResult]:
    """Return a claim's test results, from one task and one ablation of a group ``claims``."""
    # Variables: a data array, whose coordinates are looked up, takes much longer.
    values = {
        name: cell.variables[name].transpose("claim", "test").values[claim]
        for name in ("test_statistic", "test_reason", *(f"test_{name}" for name in OF_TESTS))
    }
    count = int((values["test_statistic"].astype(str) != "").sum())
    return [
        ClaimTestResult(
            **{name: float(values[f"test_{name}"][test]) for name in OF_TESTS},
            reason=str(values["test_reason"][test]),
        )
        for test in range(count)
    ]


def claim_rules(group: xr.Dataset) -> list[VerdictRule]:
    """Return the rule by which each claim of a group ``claims`` is judged."""
    statistics, minima, reasons = (
        group.variables[f"test_{name}"].transpose("claim", "test").values
        for name in ("statistic", "minimum", "rules_out")
    )
    counts = (statistics.astype(str) != "").sum(axis=1)
    return [
        VerdictRule(
            float(level),
            tuple(map(float, minima[number, :count])),
            tuple(map(str, reasons[number, :count])),
        )
        for number, (level, count) in enumerate(
            zip(group.variables["claim_level"].values, counts, strict=True)
        )
    ]


def _values(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict's variables of the group ``claims``."""
    return {
        "verdict": verdict.label,
        "reason": verdict.reason,
        "p_value": verdict.p_value,
        "corrected_p_value": verdict.corrected,
        "decisive": verdict.decisive + 1,
    }


def _coordinates(claims: Sequence[Claim], tests: int) -> dict[str, Any]:
    """Return the claims' specs as coordinates."""

    def of_tests(key: str, dtype: type, empty: object) -> NDArray[Any]:
        values: NDArray[Any] = np.full((len(claims), tests), empty, dtype=dtype)
        for number, claim in enumerate(claims):
            values[number, : len(claim.tests)] = [getattr(test.spec, key) for test in claim.tests]
        return values

    return {
        "claim": ("claim", [claim.name for claim in claims], {"long_name": "claim"}),
        **{
            f"claim_{key}": ("claim", [getattr(claim.spec, key) for claim in claims])
            for key in ("version", "summary", "text", "source", "about", "level")
        },
        "test_statistic": (("claim", "test"), of_tests("statistic", object, "")),
        "test_null_model": (("claim", "test"), of_tests("null", object, "")),
        "test_rules_out": (("claim", "test"), of_tests("rules_out", object, "")),
        "test_minimum": (("claim", "test"), of_tests("minimum", float, np.nan)),
    }


def _with_tests(group: xr.Dataset, tests: int) -> xr.Dataset:
    """Return a group padded to a number of tests for each claim."""
    variables = {}
    for name, variable in group.variables.items():
        if variable.dtype.kind in "UT":
            variable = variable.astype(object)  # labels of fixed length would cut longer ones
        if "test" in variable.dims:
            padding = (0, tests - group.sizes["test"])
            variable = variable.pad(test=padding, constant_values=_EMPTY[variable.dtype.kind])
        variables[name] = variable
    return xr.Dataset(variables, attrs=group.attrs).set_coords(list(group.coords))


def _judge_again(group: xr.Dataset, cell: tuple[int, int]) -> None:
    """Replace the verdicts of one task and one ablation."""
    task, ablation = cell
    values = group.isel(task=task, ablation=ablation)
    results = [claim_results(values, number) for number in range(group.sizes["claim"])]
    for number, verdict in enumerate(judge(claim_rules(group), results)):
        for name, value in _values(verdict).items():
            group[name].values[(*cell, number)] = value
