"""Phases and claims as labelled datasets: what has been found for every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.dynamics.alignment import ALIGNMENT
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import ClaimTestResult, Verdict
from cntbench.dynamics.film import Array
from cntbench.dynamics.phases import Phases
from cntbench.dynamics.segments import MOST
from cntbench.dynamics.trajectory import FEATURES

#: Dims of phases that the root does not have.
SIZES = {
    "boundary": MOST,
    "phase": MOST + 1,
    "change_points": MOST,
    "feature": len(FEATURES),
}
#: By name, dims after ``task, ablation`` and meaning of every number about phases.
OF_PHASES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "count": ((), "number of phases; 1 if there are no boundaries"),
    "p_value": ((), "how often trajectories without change points have such phases"),
    "advantage": (("change_points",), "advantage over a smooth curve, part of the variance"),
    "boundary_step": (("boundary",), "step of the first checkpoint of a new phase"),
    "boundary_lower": (("boundary",), "lower bound of its 95 % interval"),
    "boundary_upper": (("boundary",), "upper bound of its 95 % interval"),
    "trajectory": (("checkpoint", "feature"), "standardised metric trajectory"),
    "readout_step": (("readout",), ALIGNMENT["readout_step"]),
    "readout_distance": (("readout", "boundary"), ALIGNMENT["readout_distance"]),
    "readout_chance": (("readout",), ALIGNMENT["readout_chance"]),
}
#: By name, what is said of every claim, and of every test.
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
}


@dataclass(frozen=True)
class Judged:
    """What was found for one task by one ablation.

    Parameters
    ----------
    place
        Numbers of task and ablation.
    step
        Steps of the usable checkpoints.
    usable
        Their numbers in the dataset.
    phases, alignment
        As `cntbench.dynamics.phases` and `cntbench.dynamics.alignment` have it.
    found, verdicts
        By claim.
    """

    place: tuple[int, int]
    step: NDArray[np.int64]
    usable: NDArray[np.int64]
    phases: Phases
    alignment: Mapping[str, Array]
    found: Sequence[Sequence[ClaimTestResult]]
    verdicts: Sequence[Verdict]


def phase_group(root: xr.Dataset, judged: Sequence[Judged]) -> xr.Dataset:
    """Return the phases of every cell; NaN and empty names where there are none."""
    sizes = {**{str(dim): size for dim, size in root.sizes.items()}, **SIZES}
    group = {}
    for name, (own, said) in OF_PHASES.items():
        dims = ("task", "ablation", *own)
        values = np.full([sizes[dim] for dim in dims], np.nan)
        group[name] = xr.Variable(dims, values, {"long_name": said, "units": "1"})
    names = np.full([sizes[dim] for dim in ("task", "ablation", "phase")], "", dtype=object)
    for one in judged:
        at, phases = one.place, one.phases
        count = len(phases.boundaries)
        group["count"].values[at] = phases.count if len(one.step) else np.nan
        group["p_value"].values[at] = phases.p_value
        group["advantage"].values[at][: len(phases.advantage)] = phases.advantage
        for name, places in (
            ("step", phases.boundaries),
            ("lower", phases.lower),
            ("upper", phases.upper),
        ):
            group[f"boundary_{name}"].values[at][:count] = one.step[places]
        group["trajectory"].values[at][one.usable] = phases.features
        for name, values in one.alignment.items():
            group[name].values[at][..., : values.shape[-1]] = values
        names[at][: phases.count] = phases.names
    about = {"long_name": "name of the phase, empty where no criteria fit"}
    group["phase_name"] = xr.Variable(("task", "ablation", "phase"), names, about)
    return xr.Dataset(
        group,
        coords={
            "feature": ("feature", list(FEATURES), {"long_name": "metric of the trajectory"}),
            "feature_meaning": ("feature", list(FEATURES.values()), {"long_name": "what it is"}),
            "change_points": ("change_points", np.arange(1, MOST + 1), {"units": "1"}),
        },
    )


def claim_group(root: xr.Dataset, claims: Sequence[Claim], judged: Sequence[Judged]) -> xr.Dataset:
    """Return tests and verdicts of every cell, dims ``task, ablation, claim, test``."""
    cell = [root.sizes["task"], root.sizes["ablation"], len(claims)]
    tests = max(len(claim.tests) for claim in claims)
    words = {name: np.full(cell, "", dtype=object) for name in ("verdict", "reason")}
    of_claims = {name: np.full(cell, np.nan) for name in OF_CLAIMS}
    of_tests = {name: np.full([*cell, tests], np.nan) for name in OF_TESTS}
    why = np.full([*cell, tests], "", dtype=object)
    checkpoints = np.zeros(cell[:2], dtype=np.int64)
    for one in judged:
        checkpoints[one.place] = len(one.step)
        for number, (found, verdict) in enumerate(zip(one.found, one.verdicts, strict=True)):
            at = (*one.place, number)
            words["verdict"][at], words["reason"][at] = verdict.label, verdict.reason
            numbers = (verdict.p_value, verdict.corrected, verdict.decisive + 1)
            for name, value in zip(OF_CLAIMS, numbers, strict=True):
                of_claims[name][at] = value
            for place, test in enumerate(found):
                why[(*at, place)] = test.reason
                for name in OF_TESTS:
                    of_tests[name][(*at, place)] = getattr(test, name)
    dims = ("task", "ablation", "claim")
    variables: dict[str, Any] = {
        "verdict": (dims, words["verdict"], {"long_name": "verdict on the claim"}),
        "reason": (dims, words["reason"], {"long_name": "why it is not supported"}),
        "checkpoints": (dims[:2], checkpoints, {"long_name": "usable checkpoints", "units": "1"}),
        "test_reason": ((*dims, "test"), why, {"long_name": "why a test is not answered"}),
    }
    for name, said in OF_CLAIMS.items():
        variables[name] = (dims, of_claims[name], {"long_name": said, "units": "1"})
    for name, said in OF_TESTS.items():
        about = {"long_name": said, "units": "1"}
        variables[f"test_{name}"] = ((*dims, "test"), of_tests[name], about)
    return xr.Dataset(variables, coords=_labels(claims, tests))


def _labels(claims: Sequence[Claim], tests: int) -> dict[str, Any]:
    """Return what the claims say, as coordinates."""

    def each(key: str, dtype: type, empty: object) -> NDArray[Any]:
        values: NDArray[Any] = np.full((len(claims), tests), empty, dtype=dtype)
        for number, claim in enumerate(claims):
            values[number, : len(claim.tests)] = [getattr(t.spec, key) for t in claim.tests]
        return values

    return {
        "claim": ("claim", [claim.name for claim in claims], {"long_name": "claim"}),
        "claim_version": ("claim", [claim.spec.version for claim in claims]),
        "claim_summary": ("claim", [claim.spec.summary for claim in claims]),
        "claim_text": ("claim", [claim.spec.text for claim in claims]),
        "claim_source": ("claim", [claim.spec.source for claim in claims]),
        "claim_about": ("claim", [claim.spec.about for claim in claims]),
        "claim_level": ("claim", [claim.spec.level for claim in claims]),
        "test_statistic": (("claim", "test"), each("statistic", object, "")),
        "test_null_model": (("claim", "test"), each("null", object, "")),
        "test_rules_out": (("claim", "test"), each("rules_out", object, "")),
        "test_minimum": (("claim", "test"), each("minimum", float, np.nan)),
    }
