"""All tasks of a study, by all its ablations, measured at one model at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cntbench.components import feasible
from cntbench.engine.influence import Influence, influence
from cntbench.engine.request import Request
from cntbench.errors import CheckpointError, ParityError
from cntbench.models.decoder import Decoder
from cntbench.models.device import Device, description, prepare
from cntbench.models.precision import TYPES, moved
from cntbench.models.trajectory import Checkpoint, ModelRef, Untrained
from cntbench.prompts import Prompts
from cntbench.results.failure import Failure, Mismatch
from cntbench.results.film import checkpoint_dataset, joined
from cntbench.runs.blocks import SourceBlock, source_blocks
from cntbench.runs.catalogue import Task
from cntbench.runs.folder import RunFolder
from cntbench.runs.plan import Plan
from cntbench.specs import READOUTS

#: Budget below which it is not halved any more: the engine's smallest pieces take about as much.
LEAST_MEMORY = 2**24
_OUT_OF_MEMORY = ("not enough memory", "DefaultCPUAllocator", "out of memory")


class CheckpointMeasurer:
    """Measures all tasks and ablations of a plan, and keeps the checkpoint files.

    Parameters
    ----------
    plan, folder
        What to measure, and where checkpoint files are kept.
    memory_budget
        Memory beyond the model's own [bytes].
    device
        Where to compute.
    """

    def __init__(
        self, plan: Plan, folder: RunFolder, memory_budget: int, device: Device = "cpu"
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.memory_budget = memory_budget
        self.device = device
        self.prompts = plan.prompts()
        self._verified = False

    def blocks(self, subject: ModelRef) -> list[SourceBlock]:
        """Return the blocks of a model that are to be measured.

        Raises
        ------
        StorageError
            If there can be no room for them.
        """
        whole = source_blocks(subject, self.plan.blocks)
        if len(whole) == 1:
            return whole
        self.folder.begin(subject)
        return [block for block in whole if self.folder.read_block(self.plan, block) is None]

    def measured(self, block: SourceBlock, files: Path) -> xr.Dataset | Failure:
        """Measure a block of a model, whose files are in a folder.

        Returns
        -------
        xarray.Dataset or Failure
            What was found, or why it failed: it must not cost the others.
        """
        try:
            prepare(self.device)
            checkpoint, model, attributes = self._read(block.subject, files)
            model = moved(model, self.device)
            found = self._within_memory(checkpoint, model, block.sources(len(model.components)))
            return found.assign_attrs(description(self.device) | attributes)
        except ParityError as error:
            return Mismatch.of(error, files)
        except Exception as error:
            return Failure.of(error, files)

    def _read(self, subject: ModelRef, files: Path) -> tuple[Checkpoint, Decoder, dict[str, str]]:
        """Read a model; returns it, and what its checkpoint file should say of it.

        The first checkpoint of every process is held to transformers before anything is measured;
        that of the trajectory always is, and its checkpoint file says so, wherever it is measured.
        """
        trajectory, dtype = self.plan.trajectory, TYPES[self.plan.study.spec.dtype]
        known = (each for each in trajectory.checkpoints if each.identity)
        first = subject == next(known, trajectory.checkpoints[0])
        if isinstance(subject, Untrained) or (self._verified and not first):
            return (*trajectory.read(subject, files, dtype), {})
        checkpoint, model, held = trajectory.verified(subject, files, dtype)
        self._verified = True
        return checkpoint, model, {"parity": held.to_json()} if first else {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it verifies by itself."""
        return {**vars(self), "_verified": False}

    def keep(self, block: SourceBlock, found: xr.Dataset) -> None:
        """Write what was found of a block.

        Raises
        ------
        StorageError
            If it cannot be written: no other one can, either.
        """
        if block.whole:
            self.folder.write_checkpoint_file(self.plan, block.subject, found)
        else:
            self.folder.write_block(self.plan, block, found)

    def attempt(self, block: SourceBlock, files: Path) -> Failure | None:
        """Measure a block and keep what is found; returns why it failed, if it did."""
        found = self.measured(block, files)
        if isinstance(found, Failure):
            return found
        self.keep(block, found)
        return None

    def join(self, subject: ModelRef) -> Failure | None:
        """Make the checkpoint file of a model whose blocks are all measured."""
        whole = source_blocks(subject, self.plan.blocks)
        if len(whole) == 1:
            return None
        parts = [
            part
            for block in whole
            if (part := self.folder.read_block(self.plan, block)) is not None
        ]
        if len(parts) < len(whole):
            return Failure("failed", "a block disappeared during the run")
        self.folder.write_checkpoint_file(self.plan, subject, joined(parts))
        return None

    def _within_memory(self, checkpoint: Checkpoint, model: Decoder, sources: range) -> xr.Dataset:
        """Measure a model by smaller and smaller chunks, as long as memory does not suffice."""
        budget = self.memory_budget
        while True:
            try:
                return measure(self.plan, self.prompts, checkpoint, model, budget, sources=sources)
            except (MemoryError, RuntimeError) as error:
                if not _lacks_memory(error) or budget <= LEAST_MEMORY:
                    raise
            budget = max(budget // 2, LEAST_MEMORY)


def _lacks_memory(error: Exception) -> bool:
    """Say whether an error is one of memory: torch has no class of its own for the processor's."""
    return isinstance(error, MemoryError) or any(said in str(error) for said in _OUT_OF_MEMORY)


def measure(
    plan: Plan,
    prompts: Sequence[Prompts],
    checkpoint: Checkpoint,
    model: Decoder,
    memory_budget: int = 2**30,
    *,
    sources: range | None = None,
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
    sources
        Components to ablate, by default all.

    Raises
    ------
    CheckpointError
        If a number is not finite where it is defined.
    """
    measured = [
        influence(
            Request(
                model,
                made,
                [entry.method for entry in plan.ablations],
                observe_all=task.spec.observed == "all",
                effects=task.spec.effects,
                seed=plan.study.spec.seed,
                memory_budget=memory_budget,
                sources=sources,
            )
        )
        for task, made in zip(plan.tasks, prompts, strict=True)
    ]
    for task, found in zip(plan.tasks, measured, strict=True):
        _check_finite(plan, task, found, sources)
    return checkpoint_dataset(
        checkpoint,
        plan.trajectory.shape.components,
        [task.name for task in plan.tasks],
        [entry.name for entry in plan.ablations],
        measured,
    )


def _check_finite(plan: Plan, task: Task, found: Influence, sources: range | None) -> None:
    """Raise a `CheckpointError` if a number that a task defines is not finite."""
    components = plan.trajectory.shape.components
    ablated = np.isin(np.arange(len(components)), sources or range(len(components)))
    effects = np.isin(READOUTS, task.spec.effects)
    edges = feasible(components) & ablated[:, None]
    defined = {
        "influence": edges,
        "readout_value": np.ones(len(READOUTS), dtype=bool),
        "readout_effect": effects[:, None] & ablated,
    }
    for name, where in defined.items():
        values = getattr(found, name)
        bad = where & ~(abs(values) <= np.finfo(np.float32).max)  # as which they are kept
        if bad.any():
            raise CheckpointError(
                f"{name} of task {task.name!r} is not finite: {bad.sum()} of "
                f"{np.broadcast_to(where, values.shape).sum()} values",
                hint="The weights have diverged, or the config makes the model compute no numbers "
                "(epsilon of its norms, rotary base).",
            )
