"""The work of a run and its estimated duration, before it is started.

Counts (edges, layer-tokens, FLOPs, memory, size) follow from the study and the model's config; see
`cntbench.engine.meter`. The duration is an estimate: every process is assumed to compute at the
speed that `cntbench.estimate.calibration` measures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cntbench.components import feasible
from cntbench.dynamics.claims import draws_needed
from cntbench.engine.chunking import outcome_bytes, predicted_bytes
from cntbench.engine.meter import Work, predicted_work, total
from cntbench.engine.request import Request
from cntbench.errors import CheckpointError
from cntbench.estimate.calibration import Clock, Speed, calibrated
from cntbench.estimate.result_size import result_bytes
from cntbench.models.decoder import Decoder
from cntbench.models.device import prepare
from cntbench.models.hub.origin import Download, HubRevision, to_download
from cntbench.models.outline import Outline
from cntbench.models.precision import TYPES, weight_bytes
from cntbench.models.products import wide
from cntbench.models.trajectory import ModelRef
from cntbench.runs.blocks import source_blocks
from cntbench.runs.folder import RunFolder
from cntbench.runs.measurer import requests_of
from cntbench.runs.plan import Plan
from cntbench.runs.resources import DEFAULT_RESOURCES, Resources


@dataclass(frozen=True)
class TaskCost:
    """The cost of one task, with all ablations, at one checkpoint.

    Parameters
    ----------
    name
        Of the task.
    prompts, length, scored
        Number of prompts, their tokens, and how many tokens are scored.
    work
        Exact except for fitted constants and gradients; see
        `cntbench.engine.meter.predicted_work`.
    memory
        Upper bound on the memory of a process beyond the model [bytes].
    """

    name: str
    prompts: int
    length: int
    scored: int
    work: Work
    memory: int


@dataclass(frozen=True)
class CostEstimate:
    """The cost of a run.

    Parameters
    ----------
    checkpoints, done, absent
        Number of checkpoints, how many of them have been measured, and how many of the others the
        repository of a hub does not have.
    untrained
        Number of untrained models that have not been measured.
    components, edges
        Number of components, and of feasible edges between them.
    chosen
        Number of edges that are measured, where not all are.
    unanswerable
        Why claims cannot be answered: what they need and the plan lacks.
    tasks
        Cost of each task at a checkpoint.
    model
        Size of the model's weights in the engine [bytes].
    size
        Numbers in the result, before compression [bytes].
    reading
        Peak memory while a checkpoint is read [bytes]; 0 if unknown.
    download
        Checkpoints to download; None if all are on this machine.
    keep
        Number of downloaded checkpoints to keep on disk besides those being measured.
    blocks
        Blocks of sources per checkpoint, the units of work.
    until_se
        Standard error below which no further prompts are measured; 0 if all are.
    """

    study: str
    trajectory: str
    checkpoints: int
    done: int
    untrained: int
    ablations: tuple[str, ...]
    components: int
    edges: int
    tasks: tuple[TaskCost, ...]
    model: int
    size: int
    jobs: int
    speed: Speed
    dtype: str = "float32"
    reading: int = 0
    download: Download | None = None
    keep: int = 2
    blocks: int = 1
    absent: int = 0
    chosen: int | None = None
    unanswerable: tuple[str, ...] = ()
    until_se: float = 0.0

    @property
    def missing(self) -> int:
        """Number of checkpoints to measure."""
        return self.checkpoints - self.done - self.absent

    @property
    def work(self) -> Work:
        """Work at one checkpoint."""
        return total(task.work for task in self.tasks)

    @property
    def memory(self) -> int:
        """Peak memory of one process [bytes]: while reading the model, or in the largest task."""
        return max(self.reading, self.model + max(task.memory for task in self.tasks))

    @property
    def disk(self) -> int:
        """Peak disk space of downloads [bytes], which are deleted once measured."""
        processes = max(1, min(self.jobs, self.missing + self.untrained))
        if self.download is None:
            return 0
        return self.download.each * min(self.download.count, processes + self.keep)

    @property
    def seconds_per_checkpoint(self) -> float:
        """Estimated time of one process per checkpoint [s]."""
        return self.blocks * self.speed.loading + self.work.flops / self.speed.flops

    @property
    def seconds(self) -> float:
        """Estimated time to measure what is missing [s]. A process measures a block at a time."""
        blocks = (self.missing + self.untrained) * self.blocks
        return math.ceil(blocks / self.jobs) * self.seconds_per_checkpoint / self.blocks


def estimate(
    plan: Plan,
    folder: RunFolder | None,
    *,
    jobs: int,
    resources: Resources = DEFAULT_RESOURCES,
    clock: Clock = time.perf_counter,
) -> CostEstimate:
    """Estimate the cost of a run, in a few seconds and without writing anything.

    The first checkpoint is read, unless the trajectory is an outline. Checkpoint files in the
    folder of the run count as done, unread. Raises a `CntbenchError` if the folder belongs to
    another study, or no checkpoint can be read.
    """
    prepare(resources.device, plan.study.spec.dtype)
    if folder is not None:
        plan = folder.check(plan)

    def is_missing(subject: ModelRef) -> bool:
        return folder is None or not folder.checkpoint_file(subject).is_file()

    checkpoints, outline = plan.trajectory.checkpoints, plan.trajectory.outline
    if outline is None:
        model, loading = _first_model(plan, clock)
    else:
        model, loading = outline.decoder(TYPES[plan.study.spec.dtype]), 0.0
        model = model.by_experts() if plan.trajectory.experts else model
    missing = list(filter(is_missing, checkpoints))
    absent = sum(isinstance(c.origin, HubRevision) and c.origin.absent for c in missing)
    calls = requests_of(plan, model, resources.memory_budget)
    nodes = plan.trajectory.shape.components
    blocks = [block.sources(plan.ablated) for block in source_blocks(checkpoints[0], plan.blocks)]
    costs = tuple(
        _cost(task.name, call, blocks) for task, call in zip(plan.tasks, calls, strict=True)
    )
    speed = calibrated(calls, plan.study.spec.seed, resources.device, clock)
    return CostEstimate(
        study=plan.study.name,
        trajectory=plan.trajectory.identity,
        checkpoints=len(checkpoints),
        done=len(checkpoints) - len(missing),
        absent=absent,
        untrained=sum(map(is_missing, plan.untrained)),
        ablations=tuple(entry.name for entry in plan.ablations),
        components=len(nodes),
        edges=int(feasible(nodes).sum()),
        chosen=None if plan.measures_all else int(plan.edges.sum()),
        tasks=costs,
        model=weight_bytes(model),
        size=result_bytes(
            plan.axes,
            len(checkpoints),
            untrained=len(plan.untrained),
            null_draws=plan.study.spec.null_draws,
            tests=[len(claim.tests) for claim in plan.claims],
        ),
        jobs=jobs,
        speed=replace(speed, loading=loading),
        dtype=plan.study.spec.dtype,
        reading=0 if outline is None else _reading_bytes(outline, model),
        download=to_download(outline, missing),
        keep=resources.keep,
        blocks=plan.blocks,
        unanswerable=tuple(_unanswerable(plan, len(checkpoints) - absent)),
        until_se=plan.study.spec.until_se,
    )


def _unanswerable(plan: Plan, count: int) -> Iterator[str]:
    """Yield the claims for which a film of so many checkpoints or draws is too short."""
    draws = plan.study.spec.null_draws
    for claim in plan.claims if draws else ():
        if count < claim.needs:
            yield f"{claim.name} needs {claim.needs} checkpoints"
    levels = [claim.spec.level for claim in plan.claims]
    needed = max((draws_needed(len(levels), level) for level in levels), default=0)
    if draws and draws < needed:
        yield f"{len(levels)} claims need {needed} null_draws"


def _reading_bytes(outline: Outline, model: Decoder) -> int:
    """Return the memory of reading: weights as stored, widened, folded and rounded [bytes]."""
    exact = wide(model.dtype)
    wider = outline.parameters * exact.itemsize
    rounded = 0 if model.dtype == exact else wider
    return (
        outline.stored_bytes
        + (0 if outline.stored_type == exact else wider)
        + weight_bytes(model)
        + rounded
    )


def _first_model(plan: Plan, clock: Clock) -> tuple[Decoder, float]:
    """Return the first model that can be read, and the time that this took [s]."""
    trajectory, dtype = plan.trajectory, TYPES[plan.study.spec.dtype]
    problem: CheckpointError | None = None
    for checkpoint in trajectory.checkpoints:
        try:
            folder = checkpoint.origin.fetch()
            start = clock()
            _, model = trajectory.read(checkpoint, folder, dtype)
        except CheckpointError as error:
            problem = problem or error
        else:
            return model, clock() - start
    raise problem or CheckpointError("has no checkpoints", where=trajectory.identity)


def _cost(name: str, call: Request, blocks: Sequence[Sequence[int]]) -> TaskCost:
    """Return the cost of a task whose sources are divided into blocks."""
    count, length = call.prompts.tokens.shape
    scored = call.prompts.scored.shape[1]
    calls = [replace(call, sources=block) for block in blocks]
    memory = max(map(predicted_bytes, calls)) + outcome_bytes(call)
    return TaskCost(name, count, length, scored, total(map(predicted_work, calls)), memory)
