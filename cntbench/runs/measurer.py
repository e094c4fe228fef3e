"""Measure all tasks of a study, with all its ablations, on one model at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cntbench.engine.attention_scores import copying
from cntbench.engine.influence import Influence, influence
from cntbench.engine.request import Request
from cntbench.errors import CheckpointError, ParityError
from cntbench.models.checkpoint_files import config_identity
from cntbench.models.decoder import Decoder
from cntbench.models.device import description, memory_of, prepare
from cntbench.models.precision import TYPES, copied_ahead, moved, weight_bytes
from cntbench.models.trajectory import Checkpoint, ModelRef, Untrained
from cntbench.parallel import Progress
from cntbench.plugins.folders import failure_in_plugin, using_exactly
from cntbench.readouts import known_readouts
from cntbench.readouts import measured as measured_readouts
from cntbench.results.failure import Failure, Mismatch
from cntbench.results.film import checkpoint_dataset, joined
from cntbench.runs.blocks import SourceBlock, source_blocks
from cntbench.runs.folder import RunFolder
from cntbench.runs.plan import Plan
from cntbench.runs.resources import DEFAULT_RESOURCES, Resources
from cntbench.runs.tasks import Task

#: A budget is not halved below this: the engine's smallest pieces take about as much [bytes].
LEAST_MEMORY = 2**24
#: Locks of the thread that reads the next model, and of the one that measures on the only GPU.
_READING, _MEASURING = threading.Lock(), threading.RLock()
#: Lock of the thread that writes a file: HDF5 is not safe among threads.
_WRITING = threading.Lock()
#: Parts of the messages of torch's out-of-memory errors.
_OUT_OF_MEMORY = ("not enough memory", "DefaultCPUAllocator", "out of memory")


class CheckpointMeasurer:
    """Measures all tasks and ablations of a plan, and writes checkpoint files."""

    def __init__(
        self, plan: Plan, folder: RunFolder, resources: Resources = DEFAULT_RESOURCES
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.resources = resources
        self._verified: frozenset[str] = frozenset()

    def blocks(self, subject: ModelRef) -> list[SourceBlock]:
        """Return the blocks of a model that have not been measured."""
        blocks = source_blocks(subject, self.plan.blocks)
        if len(blocks) == 1:
            return blocks
        self.folder.begin(subject)
        return [block for block in blocks if self.folder.read_block(self.plan, block) is None]

    def measured(self, block: SourceBlock, files: Path) -> xr.Dataset | Failure:
        """Measure a block of the model in a folder, or return why that failed."""
        with using_exactly(self.plan.plugins):
            return self._measured(block, files)

    def _measured(self, block: SourceBlock, files: Path) -> xr.Dataset | Failure:
        try:
            prepare(self.resources.device, self.plan.study.spec.dtype)
            sources = block.sources(self.plan.ablated)
            with self._loaded(block.subject, files) as (checkpoint, model, attributes):
                dataset = self._within_memory(checkpoint, model, sources)
                del model
            if isinstance(block.subject, Untrained):  # of which only the influence is used
                dataset = dataset.drop_dims(["prompt", "position"], errors="ignore")
            return dataset.assign_attrs(description(self.resources.device) | attributes)
        except ParityError as error:
            return Mismatch.of(error, files)
        except Exception as error:
            return Failure.of(failure_in_plugin(error) or error, files)

    @contextmanager
    def _loaded(
        self, subject: ModelRef, files: Path
    ) -> Iterator[tuple[Checkpoint, Decoder, dict[str, str]]]:
        """Yield a checkpoint, its model on the device, and attributes of its checkpoint file.

        Where models are copied ahead, one thread measures while another one reads and copies the
        next model, so that the device has two models at most. What changes settings of the whole
        process waits: transformers initialises a model or loads the one to compare with.
        """
        device = self.resources.device
        if not self.resources.copies_ahead:
            checkpoint, model, attributes = self._read(subject, files)
            yield checkpoint, moved(model, device), attributes
            return
        with ExitStack() as held:
            with _READING:
                if isinstance(subject, Untrained) or self._verifies(subject, files):
                    held.enter_context(_MEASURING)
                checkpoint, model, attributes = self._read(subject, files)
                model = copied_ahead(model, device)
                held.enter_context(_MEASURING)
            model = moved(model, device)
            yield checkpoint, model, attributes
            del model  # before another one is copied that waits for the memory

    def _verifies(self, subject: Checkpoint, files: Path) -> bool:
        """Return whether to compare a checkpoint with transformers before it is measured.

        The first one of every config is in every process, and the first one of the trajectory,
        whose checkpoint file records the comparison.
        """
        return self._is_first(subject) or config_identity(files) not in self._verified

    def _is_first(self, subject: Checkpoint) -> bool:
        checkpoints = self.plan.trajectory.checkpoints
        known = (checkpoint for checkpoint in checkpoints if checkpoint.identity)
        return subject == next(known, checkpoints[0])

    def _read(self, subject: ModelRef, files: Path) -> tuple[Checkpoint, Decoder, dict[str, str]]:
        """Return a checkpoint, its model, and attributes of its checkpoint file."""
        trajectory, dtype = self.plan.trajectory, TYPES[self.plan.study.spec.dtype]
        if isinstance(subject, Untrained) or not self._verifies(subject, files):
            return (*trajectory.read(subject, files, dtype), {})
        checkpoint, model, parity = trajectory.verified(subject, files, dtype)
        self._verified |= {config_identity(files)}
        return checkpoint, model, {"parity": parity.to_json()} if self._is_first(subject) else {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process, which verifies the model itself.

        The folders of plug-ins come first: what they define can be unpickled only after them.
        """
        return {"_plugins": self.plan.plugins, **vars(self), "_verified": frozenset()}

    def attempt(self, block: SourceBlock, files: Path) -> Failure | None:
        """Measure a block and write it, or return why it could not be measured."""
        outcome = self.measured(block, files)
        if isinstance(outcome, Failure):
            return outcome
        with _WRITING:
            self.folder.write_block(self.plan, block, outcome)
        return None

    def join(self, subject: ModelRef) -> Failure | None:
        """Write the checkpoint file of a model whose blocks have all been measured."""
        blocks = source_blocks(subject, self.plan.blocks)
        if len(blocks) == 1:
            return None
        parts = [
            part
            for block in blocks
            if (part := self.folder.read_block(self.plan, block)) is not None
        ]
        if len(parts) < len(blocks):
            return Failure("failed", "a block disappeared during the run")
        self.folder.write_block(self.plan, SourceBlock(subject), joined(parts))
        return None

    def _within_memory(
        self, checkpoint: Checkpoint, model: Decoder, sources: Sequence[int]
    ) -> xr.Dataset:
        """Measure a model, in smaller chunks whenever memory does not suffice."""
        device = self.resources.device
        budget = self.resources.memory_budget or memory_of(device, weight_bytes(model))
        while True:
            try:
                return measure(self.plan, checkpoint, model, budget, sources=sources)
            except (MemoryError, RuntimeError) as error:
                if not _lacks_memory(error) or budget <= LEAST_MEMORY:
                    raise
            budget = max(budget // 2, LEAST_MEMORY)


def _lacks_memory(error: Exception) -> bool:
    """Return whether memory ran out; torch has no error class for that of the CPU."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def measure(
    plan: Plan,
    checkpoint: Checkpoint,
    model: Decoder,
    memory_budget: int = 2**30,
    *,
    sources: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Measure all tasks and ablations of a plan at one checkpoint.

    Raises a `CheckpointError` if a number is not finite where it is defined.

    Parameters
    ----------
    memory_budget
        Memory beyond the model [bytes].
    sources
        Components to ablate, by default all that the plan chooses.
    """
    measured: list[Influence] = []
    requests = requests_of(plan, model, memory_budget, sources)
    for task, request in zip(plan.tasks, requests, strict=True):
        if progress:
            progress(task.name, len(measured), len(plan.tasks))
        measured.append(influence(request))
    for task, result in zip(plan.tasks, measured, strict=True):
        _check_finite(plan, task, result, sources)
    return checkpoint_dataset(checkpoint, plan.axes, measured, copying(model))


def requests_of(
    plan: Plan, model: Decoder, memory_budget: int = 2**30, sources: Sequence[int] | None = None
) -> list[Request]:
    """Return the request for each task of a plan; see `measure`."""
    return [
        Request(
            model,
            prompts,
            [entry.method for entry in plan.ablations],
            observe_all=task.spec.observed == "all",
            effects=task.spec.effects,
            readouts=measured_readouts(task.spec.effects),
            seed=plan.study.spec.seed,
            memory_budget=memory_budget,
            sources=plan.some_sources if sources is None else sources,
            targets=plan.some_targets,
            keep=plan.study.spec.keep,
            until_se=plan.study.spec.until_se,
        )
        for task, prompts in zip(plan.tasks, plan.prompts, strict=True)
    ]


def _check_finite(plan: Plan, task: Task, result: Influence, sources: Sequence[int] | None) -> None:
    """Raise a `CheckpointError` if a number that the task defines is not finite."""
    components = plan.trajectory.shape.components
    ablated = np.isin(np.arange(len(components)), sources or plan.ablated)
    effects = np.isin(known_readouts(), task.spec.effects)
    edges = plan.edges & ablated[:, None]
    defined = {
        "influence": edges,
        "readout_value": np.isin(known_readouts(), measured_readouts(task.spec.effects)),
        "readout_effect": effects[:, None] & ablated,
    }
    for name, where in defined.items():
        values = getattr(result, name)
        bad = where & ~(abs(values) <= np.finfo(np.float32).max)  # they are stored in float32
        if bad.any():
            readouts = zip(known_readouts(), bad, strict=True) if name != "influence" else ()
            which = ", ".join(readout for readout, values in readouts if values.any())
            raise CheckpointError(
                f"{name} of task {task.name!r} is not finite: {bad.sum()} of "
                f"{np.broadcast_to(where, values.shape).sum()} values"
                + (f" ({which})" if which else ""),
                hint="The weights have diverged, or the config leads to undefined numbers (epsilon "
                "of the norms, rotary base).",
            )
