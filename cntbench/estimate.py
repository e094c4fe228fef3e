"""What a run would do, and how long it may take, before it is started.

Counts (edges, layer-tokens, FLOPs, memory, size) follow from the study; see
`cntbench.engine.prediction`.
The time is an estimate: a part of the study is measured here and now on the first checkpoint, and
the rest is taken to run at the same FLOPs per second on every process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from cntbench import plugins
from cntbench.components import Component, feasible
from cntbench.dynamics.null_summary import STATISTICS
from cntbench.dynamics.role_summary import OF_CHECKPOINTS, OF_COMPONENTS
from cntbench.dynamics.roles import ROLES
from cntbench.dynamics.verdict_groups import OF_CLAIMS, OF_PHASES, OF_TESTS, SIZES
from cntbench.engine.influence import influence
from cntbench.engine.prediction import (
    Call,
    outcome_bytes,
    predicted_bytes,
    predicted_work,
)
from cntbench.engine.work import Work, total
from cntbench.errors import CheckpointError
from cntbench.metrics._base import DIMS, LAGS, Metric
from cntbench.models.decoder import Decoder
from cntbench.models.trajectory import Trajectory
from cntbench.plan import Plan
from cntbench.run_folder import RunFolder
from cntbench.schema import VARIABLES
from cntbench.specs import READOUTS

#: Least time to measure the rate for [s], unless one call takes longer.
CALIBRATION_SECONDS = 1.0
#: Work of a single call that the rate is measured on, as far as prompts can be left out [FLOP].
CALIBRATION_FLOPS = 10**10

Clock = Callable[[], float]


@dataclass(frozen=True)
class TaskCost:
    """One task of a run, all ablations together, at one checkpoint.

    Parameters
    ----------
    name
        The task's.
    prompts, length, scored
        Number of prompts, their tokens, and how many of these are scored.
    work
        Exact but for fitted constants and gradients, see
        `cntbench.engine.prediction.predicted_work`.
    memory
        What a process takes beyond the model's own [bytes]: an upper bound.
    """

    name: str
    prompts: int
    length: int
    scored: int
    work: Work
    memory: int


@dataclass(frozen=True)
class Speed:
    """How fast the engine is here and now, on one thread.

    Parameters
    ----------
    flops
        FLOPs of matrix products per second.
    loading
        Time to read and check a checkpoint [s].
    """

    flops: float
    loading: float


@dataclass(frozen=True)
class Estimate:
    """What a run would do.

    Parameters
    ----------
    study, trajectory
        Names.
    checkpoints, done
        Number of checkpoints, and how many of them lie measured in the folder of the run.
    untrained
        Number of untrained models that are to be measured too.
    ablations
        Their names.
    components, edges
        Number of components, and of feasible edges between them.
    tasks
        What each task costs at a checkpoint.
    model
        Size of the model's weights as the engine holds them [bytes].
    size
        Numbers in the result, before compression [bytes].
    jobs
        Processes, one thread each.
    speed
        What the time rests on.
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

    @property
    def missing(self) -> int:
        """Checkpoints that are to be measured."""
        return self.checkpoints - self.done

    @property
    def work(self) -> Work:
        """Work at one checkpoint."""
        return total(task.work for task in self.tasks)

    @property
    def memory(self) -> int:
        """Most memory of one process: the model, and the largest of the tasks [bytes]."""
        return self.model + max(task.memory for task in self.tasks)

    @property
    def seconds_per_checkpoint(self) -> float:
        """Time that one process takes for a checkpoint [s]: an estimate."""
        return self.speed.loading + self.work.flops / self.speed.flops

    @property
    def seconds(self) -> float:
        """Time to measure what is missing [s]: an estimate. One process measures one model."""
        models = self.missing + self.untrained
        return math.ceil(models / self.jobs) * self.seconds_per_checkpoint


def estimate(
    plan: Plan,
    folder: RunFolder,
    *,
    jobs: int,
    memory_budget: int = 2**30,
    clock: Clock = time.perf_counter,
) -> Estimate:
    """Say what a run of a plan would do; takes a few seconds.

    It writes nothing, but a checkpoint of the hub that is not in the hub cache is downloaded there.

    Parameters
    ----------
    plan, folder
        What would be run, and where. Shards in the folder count as done; they are not read.
    jobs, memory_budget
        As in `cntbench.runner.run`.
    clock
        Seconds, from any start.

    Raises
    ------
    CntbenchError
        If the folder belongs to another study, or no checkpoint can be read.
    """
    plan = folder.check(plan)
    checkpoints = plan.trajectory.checkpoints
    model, loading = _first_model(plan.trajectory, clock)
    calls = _calls(plan, model, memory_budget)
    costs = tuple(_cost(task.name, call) for task, call in zip(plan.tasks, calls, strict=True))
    nodes = plan.trajectory.shape.components
    return Estimate(
        study=plan.study.name,
        trajectory=plan.trajectory.identity,
        checkpoints=len(checkpoints),
        done=sum(folder.shard(checkpoint).is_file() for checkpoint in checkpoints),
        untrained=sum(not folder.shard(model).is_file() for model in plan.untrained),
        ablations=tuple(entry.name for entry in plan.ablations),
        components=len(nodes),
        edges=int(feasible(nodes).sum()),
        tasks=costs,
        model=_weights(model),
        size=result_bytes(
            nodes,
            len(plan.tasks),
            len(plan.ablations),
            len(checkpoints),
            untrained=len(plan.untrained),
            null_draws=plan.study.spec.null_draws,
            tests=[len(claim.tests) for claim in plan.claims],
        ),
        jobs=jobs,
        speed=Speed(measured_rate(calls, plan.study.spec.seed, clock), loading),
    )


def measured_rate(calls: Sequence[Call], seed: int, clock: Clock = time.perf_counter) -> float:
    """Measure how many FLOPs of matrix products the engine does per second, on one thread.

    Parameters
    ----------
    calls
        Each is made in turn, with as few of its prompts as make the piece worth timing, until
        enough time has passed; the first one once before the clock starts.
    seed
        Of random draws.
    clock
        Seconds, from any start.
    """
    small = [_shortened(call) for call in calls]
    flops = [predicted_work(call).flops for call in small]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _make(small[0], seed)
        done, turn, start = 0, 0, clock()
        while (passed := clock() - start) < CALIBRATION_SECONDS or not turn:
            _make(small[turn % len(small)], seed)
            done += flops[turn % len(small)]
            turn += 1
    finally:
        torch.set_num_threads(threads)
    return done / passed


def result_bytes(
    nodes: Sequence[Component],
    tasks: int,
    ablations: int,
    checkpoints: int,
    *,
    untrained: int,
    null_draws: int,
    tests: Sequence[int],
) -> int:
    """Return the size of all numbers of a result, before compression [bytes].

    ``tests`` are the numbers of tests of each claim.
    """
    sizes = {
        "task": tasks,
        "ablation": ablations,
        "readout": len(READOUTS),
        "checkpoint": checkpoints,
        "other_checkpoint": checkpoints,
        "source": len(nodes),
        "target": len(nodes),
        "component": len(nodes),
        "layer": len({node.layer for node in nodes}),
        "lag": len(LAGS),
        **SIZES,
    }
    numbers = sum(
        math.prod(sizes[dim] for dim in variable.dims)
        for variable in VARIABLES.values()
        if variable.type == "float"
    )
    cells = tasks * ablations
    numbers += cells * untrained * 2 * len(nodes) ** 2
    of_roles = len(OF_COMPONENTS) * len(nodes) + len(OF_CHECKPOINTS)
    numbers += cells * checkpoints * len(ROLES) * of_roles
    for plugin in plugins.room("metric").values():
        metric: Metric = plugin.module.METRIC
        size = cells * math.prod(sizes[dim] for dim in DIMS[metric.per])
        numbers += 2 * size  # in double precision
        if null_draws and metric.null is not None:
            numbers += len(STATISTICS) * size
    if null_draws and tests:
        of_phases = sum(math.prod(sizes[dim] for dim in dims) for dims, _ in OF_PHASES.values())
        of_claims = len(tests) * (len(OF_CLAIMS) + len(OF_TESTS) * max(tests))
        numbers += 2 * cells * (of_phases + of_claims)  # in double precision
    return numbers * 4


def _first_model(trajectory: Trajectory, clock: Clock) -> tuple[Decoder, float]:
    """Return the first model that can be read, and how long that took [s]."""
    problem: CheckpointError | None = None
    for checkpoint in trajectory.checkpoints:
        try:
            folder = checkpoint.origin.fetch()
            start = clock()
            _, model = trajectory.read(checkpoint, folder)
        except CheckpointError as error:
            problem = problem or error
        else:
            return model, clock() - start
    raise problem or CheckpointError("has no checkpoints", where=trajectory.identity)


def _calls(plan: Plan, model: Decoder, memory_budget: int) -> list[Call]:
    return [
        Call(
            model,
            prompts,
            [entry.method for entry in plan.ablations],
            observe_all=task.spec.observed == "all",
            effects=task.spec.effects,
            memory_budget=memory_budget,
        )
        for task, prompts in zip(plan.tasks, plan.prompts(), strict=True)
    ]


def _cost(name: str, call: Call) -> TaskCost:
    count, length = call.prompts.tokens.shape
    scored = call.prompts.scored.shape[1]
    memory = predicted_bytes(call) + outcome_bytes(call)
    return TaskCost(name, count, length, scored, predicted_work(call), memory)


def _shortened(call: Call) -> Call:
    """Leave prompts out of a call as long as it is a large one."""
    flops, count = predicted_work(call).flops, len(call.prompts)
    fewest = 1 + max(ablation.draws for ablation in call.ablations)  # others to draw on
    kept = min(count, max(fewest, count * CALIBRATION_FLOPS // flops))
    return replace(call, prompts=call.prompts.take(slice(kept)))


def _make(call: Call, seed: int) -> None:
    influence(
        call.model,
        call.prompts,
        call.ablations,
        observe_all=call.observe_all,
        effects=call.effects,
        readouts=call.readouts,
        seed=seed,
        memory_budget=call.memory_budget,
    )


def _weights(model: Decoder) -> int:
    """Return the size of the weights that grow with the model, as the engine holds them [bytes]."""
    parameters = model.unembed.weight.numel() * 2  # and the embedding
    for stage in model.stages:
        for block in stage.blocks:
            tensors = [value for value in vars(block).values() if isinstance(value, torch.Tensor)]
            linear = [value for value in vars(block).values() if hasattr(value, "weight")]
            parameters += sum(tensor.numel() for tensor in tensors)
            parameters += sum(one.weight.numel() + one.bias.numel() for one in linear)
    return parameters * model.dtype.itemsize
