"""Recovery of known edges by a run's ablations: measured once and cached."""

from __future__ import annotations

from contextlib import suppress

import torch
import xarray as xr

from cntbench.analysis.diagnostics import diagnostics
from cntbench.analysis.recovery import recovery
from cntbench.analysis.reuse import made_of
from cntbench.errors import StorageError
from cntbench.models.cache import cache_folder
from cntbench.parallel import Progress
from cntbench.results.storage import read_netcdf, write_netcdf
from cntbench.runs.known_circuits import measurable_on, measure_planted, planted_models
from cntbench.runs.plan import Plan
from cntbench.specs import as_dict

#: Rooms of the plug-ins that the numbers depend on.
_ROOMS = ("ablations", "analysis", "engine", "estimators", "models", "prompts", "readouts", "runs")


def known_edges(plan: Plan, *, jobs: int, progress: Progress) -> xr.Dataset | None:
    """Measure how well the ablations of a plan recover the edges of its planted circuits.

    Returns
    -------
    xarray.Dataset or None
        The datasets of `cntbench.analysis.recovery.recovery` and, with dim ``special`` instead of
        ``circuit``, of `cntbench.analysis.diagnostics.diagnostics`. NaN for ablations that cannot
        be measured on the circuits, for the reasons in the attribute ``left_out``. None if there
        are no circuits, or no ablation can be measured on them.
    """
    if not plan.circuits:
        return None
    path = cache_folder() / f"known-edges-{_made_of(plan)[:16]}.nc"
    with suppress(OSError, StorageError):  # missing or damaged
        groups, sealed = read_netcdf(path)
        if sealed:
            return groups["/"]
    measurable, absences = measurable_on(plan.study, plan.ablations, plan.circuits)
    if not measurable:
        return None
    models = planted_models(plan.study, measurable, plan.circuits)
    records, checks = measure_planted(models, progress=progress, jobs=jobs)
    names = [entry.name for entry in plan.ablations]
    parts = [
        recovery(records).reindex(ablation=names, fill_value={"seeds": 0}),
        diagnostics(checks)
        .rename(circuit="special")
        .reindex(ablation=names, fill_value={"what": ""}),
    ]
    dataset = xr.merge(parts, join="exact", compat="equals").assign_attrs(
        title="Recovery of planted edges", seed=plan.study.spec.seed, **absences
    )
    with suppress(OSError, StorageError):  # without a cache the next run takes longer
        path.parent.mkdir(parents=True, exist_ok=True)
        write_netcdf({"/": dataset}, path)
    return dataset


def _made_of(plan: Plan) -> str:
    """Return the SHA-256 of everything that the numbers depend on: specs and code."""
    content = {
        "seed": plan.study.spec.seed,
        "ablations": [[entry.name, as_dict(entry.spec)] for entry in plan.ablations],
        "circuits": [
            [
                [known.circuit.name, as_dict(known.circuit.spec)],
                [[task.name, task.identity] for task in known.tasks],
            ]
            for known in plan.circuits
        ],
        "torch": torch.__version__,
    }
    return made_of(content, _ROOMS)
