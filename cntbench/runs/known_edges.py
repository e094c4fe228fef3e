"""What the ablations of a run recover of known edges; measured once, kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import cntbench
from cntbench.analysis.diagnostics import diagnostics
from cntbench.analysis.recovery import recovery
from cntbench.errors import CntbenchError, StorageError
from cntbench.models.cache import cache_folder
from cntbench.models.trajectory import Progress
from cntbench.results.storage import write_atomically
from cntbench.runs.catalogue import AblationEntry, KnownCircuit, StudyEntry, Task
from cntbench.runs.known_circuits import check_measurable, measure_planted
from cntbench.runs.plan import Plan
from cntbench.specs import as_dict

#: Code that the numbers depend on.
_CODE = ("ablations", "analysis", "engine", "models", "prompts")
#: Attribute that says why ablations were left out, as JSON.
LEFT_OUT = "left_out"


def known_edges(plan: Plan, *, jobs: int, progress: Progress) -> xr.Dataset | None:
    """Hold the ablations of a plan against its circuits.

    Parameters
    ----------
    plan
        Names ablations, circuits and the seed.
    jobs
        Processes.
    progress
        Told about every model of a circuit.

    Returns
    -------
    xarray.Dataset or None
        What `cntbench.analysis.recovery.recovery` and `cntbench.analysis.diagnostics.diagnostics`
        give, the latter with dim ``special`` instead of ``circuit``; NaN for ablations that cannot
        be measured on the circuits, with the reasons in the attribute ``left_out``. None if the
        plan has no circuits, or none of the ablations can be measured on them.
    """
    if not plan.circuits:
        return None
    path = cache_folder() / f"known-edges-{_checksum(plan)[:16]}.nc"
    with (
        suppress(OSError, ValueError, RuntimeError),  # not there, or damaged
        xr.open_dataset(path, engine="netcdf4") as kept,
    ):
        return kept.load().drop_encoding()
    left_out = {
        entry.name: reason
        for entry in plan.ablations
        if (reason := _obstacle(plan.study, entry, plan.circuits))
    }
    measured = [entry for entry in plan.ablations if entry.name not in left_out]
    if not measured:
        return None
    recovered, diagnosed = measure_planted(
        plan.study, measured, plan.circuits, progress=progress, jobs=jobs
    )
    names = [entry.name for entry in plan.ablations]
    parts = [
        recovery(recovered).reindex(ablation=names, fill_value={"seeds": 0}),
        diagnostics(diagnosed)
        .rename(circuit="special")
        .reindex(ablation=names, fill_value={"what": ""}),
    ]
    found = xr.merge(parts, join="exact", compat="equals")
    found.attrs = {
        "title": "Recovery of planted edges",
        "seed": plan.study.spec.seed,
        LEFT_OUT: json.dumps(left_out, sort_keys=True),
    }
    with suppress(OSError, StorageError):  # a cache that cannot be written costs time, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda unfinished: _write(found, unfinished))
    return found


def _obstacle(
    study: StudyEntry, entry: AblationEntry, circuits: Sequence[KnownCircuit]
) -> str | None:
    try:
        check_measurable(study, [entry], circuits)
    except CntbenchError as error:
        return error.what
    return None


def _write(found: xr.Dataset, path: Path) -> None:
    numbers = [name for name, variable in found.variables.items() if variable.dtype.kind in "fi"]
    found.to_netcdf(
        path, engine="netcdf4", encoding={name: {"fletcher32": True} for name in numbers}
    )


def _checksum(plan: Plan) -> str:
    """Return the SHA-256 of all that the numbers depend on: specs and code."""
    specs = {
        "seed": plan.study.spec.seed,
        "ablations": [[entry.name, as_dict(entry.spec)] for entry in plan.ablations],
        "circuits": [
            [known.circuit.name, as_dict(known.circuit.spec), *map(_task, known.tasks)]
            for known in plan.circuits
        ],
        "versions": [torch.__version__, np.__version__, xr.__version__],
    }
    digest = hashlib.sha256(json.dumps(specs, sort_keys=True).encode())
    package = Path(cntbench.__path__[0])
    for room in _CODE:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _task(task: Task) -> list[object]:
    return [task.name, as_dict(task.spec)]
