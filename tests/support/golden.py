"""How golden results are measured: every task × ablation there is, on the golden trajectory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import xarray as xr

from cntbench.catalogue import Catalogue, StudyEntry, load_catalogue
from cntbench.cells import measure
from cntbench.dataset import film
from cntbench.models.precision import TYPES
from cntbench.models.trajectory import Checkpoint
from cntbench.plan import Plan, make_plan
from cntbench.processes import each
from cntbench.runner import provenance
from cntbench.specs import Precision, StudySpec

PROMPTS = 8


def golden_study(
    catalogue: Catalogue, trajectory: Path, dtype: Precision = "float32"
) -> StudyEntry:
    """Every shipped ablation and task; but the golden model has no tokenizer."""
    spec = StudySpec(
        version=1,
        summary="Every task and ablation on the golden trajectory.",
        trajectory=f"dir:{trajectory}",
        tasks=tuple(name for name, task in catalogue.tasks.items() if not task.needs_text),
        ablations=tuple(catalogue.ablations),
        prompts=PROMPTS,
        dtype=dtype,
    )
    return StudyEntry("golden", trajectory, spec)


def _measure_checkpoint(plan: Plan, checkpoint: Checkpoint) -> xr.Dataset:
    model = plan.trajectory.load(checkpoint, TYPES[plan.study.spec.dtype])
    return measure(plan, plan.prompts(), checkpoint, model)


def measure_golden(
    trajectory: Path, *, dtype: Precision = "float32", steps: Sequence[int] = ()
) -> xr.Dataset:
    """Measure everything (at some steps), in float32 or in another type."""
    catalogue = load_catalogue()
    plan = make_plan(catalogue, golden_study(catalogue, trajectory, dtype), lambda *_: None)
    chosen = [c for c in plan.trajectory.checkpoints if not steps or c.step in steps]
    work = partial(_measure_checkpoint, plan)
    parts = list(each(work, chosen, jobs=os.cpu_count() or 1))
    attributes = provenance(plan)
    # Neither where the trajectory lies nor which versions measured it makes a golden result.
    stable = {k: attributes[k] for k in ("study", "seed", "prompts", "dtype", "feasible_edges")}
    return film(parts, {**stable, "source": "nano"})
