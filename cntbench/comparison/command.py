"""Compare result files, or measure and compare ablations; read comparison files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cntbench.analysis.diagnostics import diagnostics
from cntbench.analysis.recovery import recovery
from cntbench.comparison.budgets import recovered_output
from cntbench.comparison.files import compare_files, refuse_beside_results
from cntbench.comparison.purposes import purpose_scores
from cntbench.comparison.table import comparison
from cntbench.comparison.trained import measure_trained
from cntbench.comparison.verdict import verdict
from cntbench.errors import CntbenchError
from cntbench.files.attributes import described
from cntbench.parallel import Progress
from cntbench.runs.catalogue import AblationEntry, KnownCircuit, load_catalogue
from cntbench.runs.known_circuits import (
    forward_passes,
    measurable_on,
    measure_planted,
    planted_models,
    versions,
)
from cntbench.runs.options import Checkpoints
from cntbench.runs.plan import Plan, make_plan

#: The study that is compared by default.
STUDY = "compare"
#: Number of checkpoints that are compared by default.
CHECKPOINTS = 8
#: The ablation that patches the edges outside a circuit.
PATCH = "resample"


@dataclass(frozen=True)
class Measurement:
    """What ablations are compared by.

    Parameters
    ----------
    circuits
        Names of planted circuits; by default all without dynamics.
    checkpoints
        Their number, spread over the trajectory; or a choice of checkpoints as in a study.
    """

    changes: Mapping[str, Any]
    circuits: Sequence[str] | None
    checkpoints: Checkpoints
    specs: Sequence[Path]
    where: str = "command line"


def compare(
    results: Sequence[Path], measurement: Measurement, *, progress: Progress, jobs: int
) -> xr.Dataset:
    """Compare result files, or ablations on planted circuits and on a trained trajectory.

    Raises
    ------
    CntbenchError
        If a name is unknown, the trajectory cannot be measured, a file cannot be compared, or both
        files and options of a measurement are given.
    """
    changes, circuits = measurement.changes, measurement.circuits
    if results:
        given = {"circuits": circuits is not None}
        given["checkpoints"] = str(measurement.checkpoints) != str(CHECKPOINTS)
        refuse_beside_results([*changes, *filter(given.get, given)])
        return compare_files(results)
    catalogue = load_catalogue(measurement.specs)
    known_circuits = catalogue.known_circuits(circuits)
    count = _count(measurement.checkpoints, measurement.where)
    chosen = {} if count else {"checkpoints": measurement.checkpoints}
    study = catalogue.changed_study(STUDY, {**changes, **chosen}, where=measurement.where)
    plan = make_plan(catalogue, study, progress, suited="ablations" not in changes)
    every = len(plan.trajectory.checkpoints)
    trained = measure_trained(plan, checkpoints=count or every, progress=progress, jobs=jobs)
    if known_circuits:
        patch = catalogue.ablations[PATCH]
        dataset = _with_circuits(plan, known_circuits, trained, patch, progress=progress, jobs=jobs)
    else:
        dataset = comparison(trained)
    spec = plan.study.spec
    dataset.attrs |= {
        "source": plan.trajectory.identity,
        "prompts": max(map(len, plan.prompts)),
        "seed": spec.seed,
        **({"experts": "each a component"} if spec.experts else {}),
    }
    return dataset


def _with_circuits(
    plan: Plan,
    circuits: Sequence[KnownCircuit],
    trained: xr.Dataset,
    patch: AblationEntry,
    *,
    progress: Progress,
    jobs: int,
) -> xr.Dataset:
    """Return the comparison on a trajectory and on circuits, with the verdicts on methods.

    ``patch`` is the ablation that patches the edges outside a circuit.
    """
    seed = plan.study.spec.seed
    measurable, absences = measurable_on(plan.study, plan.ablations, circuits)
    models = planted_models(plan.study, measurable, circuits)
    records, checks = measure_planted(models, progress=progress, jobs=jobs)
    dataset = comparison(
        trained,
        recovery(records) if any(r.truth("truth_direct") is not None for r in records) else None,
        diagnostics(checks) if checks else None,
    )
    dataset.attrs |= absences
    plain = [known for known in circuits if not known.circuit.diagnostics]
    names = [entry.name for entry in plan.ablations]
    areas = recovered_output(records, plain, plan.study, patch, jobs=jobs)
    scores = purpose_scores(records, names, [known.circuit.name for known in plain], areas)
    if scores is None:
        return dataset
    costs = forward_passes(plan.study, measurable, circuits, jobs=jobs)
    passes = xr.DataArray(
        [costs.get(name, np.nan) for name in names],
        {"ablation": names},
        attrs=described("forward_passes", "work to measure all edges [forward passes]", "1"),
    )
    verdicts = verdict(scores["score_by_model"], passes, seed=seed)
    hashes = versions(plan.study, circuits)
    sha256 = [hashes[str(name)] for name in scores["scored_circuit"].values]
    about = described("circuit_sha256", "of all that a circuit's models and prompts depend on")
    return dataset.assign(
        {
            **scores,
            **verdicts,
            "forward_passes": passes,
            "circuit_sha256": ("scored_circuit", sha256, about),
        }
    )


def _count(checkpoints: Checkpoints, where: str) -> int | None:
    """Return the number of checkpoints if they are given as a number, None if as a choice."""
    is_number = isinstance(checkpoints, int) or (
        isinstance(checkpoints, str) and checkpoints.strip().isdecimal()
    )
    if not is_number:
        return None
    if int(str(checkpoints)) < 1:
        what = f"checkpoints = {checkpoints} is not allowed"
        raise CntbenchError(what, where=where, hint="It must be 1 or more.")
    return int(str(checkpoints))
