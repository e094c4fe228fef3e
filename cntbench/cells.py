"""The cells of a study at one model: all its tasks by all its ablations."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import xarray as xr

from cntbench.dataset import checkpoint_dataset
from cntbench.failure import Failure
from cntbench.influence import influence
from cntbench.models.decoder import Decoder
from cntbench.models.trajectory import Checkpoint, Subject
from cntbench.plan import Plan
from cntbench.prompts import Prompts
from cntbench.run_folder import RunFolder


class Cells:
    """Measures all tasks and ablations of a plan, and keeps the shards.

    Parameters
    ----------
    plan, folder
        What to measure, and where shards are kept.
    memory_budget
        Memory beyond the model's own [bytes].
    """

    def __init__(self, plan: Plan, folder: RunFolder, memory_budget: int) -> None:
        self.plan = plan
        self.folder = folder
        self.memory_budget = memory_budget
        self.prompts = plan.prompts()

    def measure(self, subject: Subject, files: Path) -> None:
        """Measure one model, whose files are in a folder, and keep its shard."""
        checkpoint, model = self.plan.trajectory.read(subject, files)
        dataset = measure(self.plan, self.prompts, checkpoint, model, self.memory_budget)
        self.folder.write_shard(subject, dataset)

    def attempt(self, subject: Subject, files: Path) -> Failure | None:
        """Measure a model; returns why it failed, if it did: it must not cost the others."""
        try:
            self.measure(subject, files)
        except Exception as error:
            return Failure.of(error, files)
        return None


def measure(
    plan: Plan,
    prompts: Sequence[Prompts],
    checkpoint: Checkpoint,
    model: Decoder,
    memory_budget: int = 2**30,
) -> xr.Dataset:
    """Measure all tasks and ablations of a plan at one checkpoint.

    Parameters
    ----------
    plan, prompts
        What to measure, and the plan's prompts.
    checkpoint, model
        Where, and its weights.
    memory_budget
        Memory beyond the model's own [bytes].
    """
    measured = [
        influence(
            model,
            made,
            [entry.method for entry in plan.ablations],
            observe_all=task.spec.observed == "all",
            effects=task.spec.effects,
            seed=plan.study.spec.seed,
            memory_budget=memory_budget,
        )
        for task, made in zip(plan.tasks, prompts, strict=True)
    ]
    return checkpoint_dataset(
        checkpoint,
        plan.trajectory.shape.components,
        [task.name for task in plan.tasks],
        [entry.name for entry in plan.ablations],
        measured,
    )


def not_fetched(subject: Subject, fetched: Future[Path]) -> Failure | None:
    """Return why a model's files could not be had, None if they could."""
    error = fetched.exception()
    place = subject.origin if isinstance(subject, Checkpoint) else subject.name
    return None if error is None else Failure.of(error, place)
