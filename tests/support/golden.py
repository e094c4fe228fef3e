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
from cntbench.models import checkpoint_files
from cntbench.models.adapters import gpt_neox
from cntbench.models.decoder import Decoder
from cntbench.models.trajectory import Checkpoint
from cntbench.plan import Plan, make_plan
from cntbench.processes import each
from cntbench.runner import provenance
from cntbench.specs import StudySpec

PROMPTS = 8


def golden_study(catalogue: Catalogue, trajectory: Path) -> StudyEntry:
    """Every shipped ablation and task; but the golden model has no tokenizer."""
    spec = StudySpec(
        version=1,
        summary="Every task and ablation on the golden trajectory.",
        trajectory=f"dir:{trajectory}",
        tasks=tuple(name for name, task in catalogue.tasks.items() if not task.needs_text),
        ablations=tuple(catalogue.ablations),
        prompts=PROMPTS,
    )
    return StudyEntry("golden", trajectory, spec)


def in_float64(folder: Path) -> Decoder:
    """A checkpoint's decoder with double precision throughout."""
    tensors = {k: t.double() for k, t in checkpoint_files.read_tensors(folder).items()}
    config = checkpoint_files.read_config(folder)
    return gpt_neox.decoder(config, tensors)


def _measure_checkpoint(plan: Plan, double: bool, checkpoint: Checkpoint) -> xr.Dataset:
    folder = checkpoint.origin.fetch()
    model = in_float64(folder) if double else plan.trajectory.load(checkpoint)
    return measure(plan, plan.prompts(), checkpoint, model)


def measure_golden(
    trajectory: Path, *, double: bool = False, steps: Sequence[int] = ()
) -> xr.Dataset:
    """Measure everything (at some steps), in float32 as users do, or in float64."""
    catalogue = load_catalogue()
    plan = make_plan(catalogue, golden_study(catalogue, trajectory), lambda *_: None)
    chosen = [c for c in plan.trajectory.checkpoints if not steps or c.step in steps]
    work = partial(_measure_checkpoint, plan, double)
    parts = list(each(work, chosen, jobs=os.cpu_count() or 1))
    attributes = provenance(plan)
    # Neither where the trajectory lies nor which versions measured it makes a golden result.
    stable = {k: attributes[k] for k in ("study", "seed", "prompts", "dtype", "feasible_edges")}
    return film(parts, {**stable, "source": "nano"})
