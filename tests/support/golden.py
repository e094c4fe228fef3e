"""How golden results are measured: every task × ablation there is, on the golden trajectory."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from functools import cache, partial
from pathlib import Path

import xarray as xr

from cntbench.models.precision import TYPES
from cntbench.models.trajectory import Checkpoint
from cntbench.parallel.processes import parallel_map
from cntbench.results.difference import golden_file
from cntbench.results.film import film
from cntbench.results.storage import open_results
from cntbench.runs.catalogue import Catalogue, StudyEntry, load_catalogue
from cntbench.runs.measurer import measure
from cntbench.runs.plan import Plan, make_plan
from cntbench.runs.run import provenance
from cntbench.specs import Precision, StudySpec

PROMPTS = 8


def golden_tasks(catalogue: Catalogue) -> tuple[str, ...]:
    """Every shipped task but those of text: the golden model has no tokenizer."""
    return tuple(name for name, task in catalogue.tasks.items() if not task.needs_text)


def golden_steps(folder: Path) -> list[int]:
    """Steps of the golden trajectory, in order."""
    return sorted(int(path.name.removeprefix("step")) for path in folder.glob("trajectory/step*"))


def fitted_ablations(catalogue: Catalogue) -> tuple[str, ...]:
    """Ablations that fit something to the prompts, which takes longer than all others together."""
    return tuple(n for n, a in catalogue.ablations.items() if a.method.replacement.fitting_steps)


def golden_study(
    trajectory: Path, tasks: Sequence[str], ablations: Sequence[str], dtype: Precision
) -> StudyEntry:
    """Some tasks and ablations on the golden trajectory."""
    spec = StudySpec(
        version=1,
        summary="Tasks and ablations on the golden trajectory.",
        trajectory=f"dir:{trajectory}",
        tasks=tuple(tasks),
        ablations=tuple(ablations),
        prompts=PROMPTS,
        dtype=dtype,
    )
    return StudyEntry("golden", trajectory, spec)


@cache
def golden_dataset(path: Path) -> xr.Dataset:
    """Read one golden file, once a process."""
    return open_results(path).to_dataset()


def read_golden(
    folder: Path,
    *,
    tasks: Sequence[str] = (),
    ablations: Sequence[str] = (),
    steps: Sequence[int] = (),
) -> xr.Dataset:
    """Read frozen results: all of them, or of some tasks, ablations and steps.

    What the files of a task share, as the clean readouts, is that of the first.
    """
    catalogue = load_catalogue()
    frozen = xr.combine_nested(
        [
            [
                golden_dataset(golden_file(folder, task, ablation))
                for ablation in ablations or catalogue.ablations
            ]
            for task in tasks or golden_tasks(catalogue)
        ],
        ["task", "ablation"],
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop",
    )
    return frozen.isel(checkpoint=frozen["step"].isin(steps or frozen["step"]).values)


def _measure_checkpoint(plan: Plan, checkpoint: Checkpoint) -> xr.Dataset:
    model = plan.trajectory.load(checkpoint, TYPES[plan.study.spec.dtype])
    return measure(plan, checkpoint, model)


def measure_golden(
    trajectory: Path,
    *,
    tasks: Sequence[str] = (),
    ablations: Sequence[str] = (),
    dtype: Precision = "float32",
    steps: Collection[int] = (),
    jobs: int | None = None,
) -> xr.Dataset:
    """Measure all tasks, ablations and steps or some of them, in float32 or in another type."""
    catalogue = load_catalogue()
    tasks, ablations = tasks or golden_tasks(catalogue), ablations or tuple(catalogue.ablations)
    study = golden_study(trajectory, tasks, ablations, dtype)
    plan = make_plan(catalogue, study, lambda *_: None)
    chosen = [c for c in plan.trajectory.checkpoints if not steps or c.step in steps]
    work = partial(_measure_checkpoint, plan)
    parts = list(parallel_map(work, chosen, jobs=jobs or os.cpu_count() or 1))
    attributes = provenance(plan)
    # Neither where the trajectory lies nor which versions measured it makes a golden result.
    stable = {k: attributes[k] for k in ("study", "seed", "prompts", "dtype", "feasible_edges")}
    return film(parts, {**stable, "source": "nano"})
