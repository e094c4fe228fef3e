"""Verdicts of one film that were found one after the other, in one group."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from cntbench.dynamics.claim import Rule
from cntbench.dynamics.claims import ClaimTestResult, judge_by
from cntbench.dynamics.verdict_groups import OF_TESTS

#: What stands where a claim has fewer tests than others, or an older file does not say.
_EMPTY: dict[str, Any] = {"O": "", "U": "", "T": "", "f": np.nan, "i": 0, "u": 0}


def merged(earlier: xr.Dataset, later: xr.Dataset) -> xr.Dataset:
    """Return all verdicts of two groups ``claims`` of one film.

    A claim that both have is the later one's. p-values are corrected anew, for the number of claims
    that there are now, and verdicts follow from that.

    Parameters
    ----------
    earlier, later
        Of the same tasks, ablations and checkpoints.
    """
    if "claim_draws" not in earlier:  # files from before there was merging
        draws = np.full(earlier.sizes["claim"], int(earlier.attrs.get("draws", 0)))
        earlier = earlier.assign_coords(claim_draws=("claim", draws))
    known = [str(name) for name in earlier["claim"].values]
    new = [str(name) for name in later["claim"].values]
    kept = [place for place, name in enumerate(known) if name not in new]
    if not kept:
        return later
    tests = max(earlier.sizes["test"], later.sizes["test"])
    parts = [_with_tests(earlier.isel(claim=kept), tests), _with_tests(later, tests)]
    both = xr.concat(parts, dim="claim", data_vars="minimal", coords="minimal", compat="override")
    names = [str(name) for name in both["claim"].values]
    order = [names.index(name) for name in dict.fromkeys([*known, *new])]
    found = both.isel(claim=order).assign_attrs(later.attrs)
    for cell in np.ndindex(*found["verdict"].shape[:-1]):
        _judge(found, cell)
    return found


def found_in(cell: xr.Dataset, place: int) -> list[ClaimTestResult]:
    """Return what the tests of a claim have found.

    Parameters
    ----------
    cell
        A group ``claims``, of which a task and an ablation have been taken.
    place
        Of the claim.
    """
    here = cell.isel(claim=place)
    count = int((here["test_statistic"].values.astype(str) != "").sum())
    return [
        ClaimTestResult(
            **{name: float(here[f"test_{name}"].values[test]) for name in OF_TESTS},
            reason=str(here["test_reason"].values[test]),
        )
        for test in range(count)
    ]


def _with_tests(group: xr.Dataset, tests: int) -> xr.Dataset:
    """Return a group with room for so many tests of each claim."""
    variables = {}
    for name, variable in group.variables.items():
        if variable.dtype.kind in "UT":
            variable = variable.astype(object)  # labels of fixed length would cut longer ones
        if "test" in variable.dims:
            empty = _EMPTY[variable.dtype.kind]
            more = tests - group.sizes["test"]
            variable = variable.pad(test=(0, more), constant_values=empty)
        variables[name] = variable
    return xr.Dataset(variables, attrs=group.attrs).set_coords(list(group.coords))


def _judge(group: xr.Dataset, cell: tuple[int, ...]) -> None:
    """Put the verdicts of one task by one ablation in the place of those before."""
    task, ablation = cell
    at = group.isel(task=task, ablation=ablation)
    found = [found_in(at, place) for place in range(group.sizes["claim"])]
    rules = [
        Rule(
            float(group["claim_level"].values[place]),
            tuple(map(float, group["test_minimum"].values[place, : len(tests)])),
            tuple(map(str, group["test_rules_out"].values[place, : len(tests)])),
        )
        for place, tests in enumerate(found)
    ]
    for place, verdict in enumerate(judge_by(rules, found)):
        numbers = {
            "verdict": verdict.label,
            "reason": verdict.reason,
            "p_value": verdict.p_value,
            "corrected_p_value": verdict.corrected,
            "decisive": verdict.decisive + 1,
        }
        for name, value in numbers.items():
            group[name].values[(*cell, place)] = value
