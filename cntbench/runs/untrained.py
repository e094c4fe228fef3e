"""The default number of untrained models of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cntbench.errors import CntbenchNote, warn
from cntbench.models import checkpoint_files
from cntbench.models.outline import parameters
from cntbench.models.trajectory import Trajectory
from cntbench.prompts import Prompts

#: The smallest number that allows a p-value below 0.05.
ENOUGH = 20
#: Work up to which that many are always measured, a minute at most on two cores, and the work above
#: which a model counts as large, hours on two cores [FLOP].
LITTLE, LARGE = 1e12, 1e15
#: Number of checkpoints for each untrained model of a large model.
SHARE = 10
#: Part of the names of experts' weights.
_EXPERTS = ".experts."


def work_per_model(trajectory: Trajectory, prompts: Sequence[Prompts], cells: int) -> float:
    """Estimate the work for one model, as if every effect were computed exactly [FLOP].

    Every component is ablated for every prompt, and on average half of the layers are computed
    again; a mixture of experts computes those that a token is sent to. `cntbench.engine.meter`
    counts exactly, which takes seconds. ``cells`` are pairs of a source and an ablation.
    """
    if trajectory.outline is not None:
        config = trajectory.outline.config
    elif trajectory.config is not None:
        config = checkpoint_files.read_config(trajectory.config)
    else:
        return 0.0
    size = trajectory.shape
    maps = sum(
        math.prod(shape) * (size.experts_per_token / max(size.experts) if _EXPERTS in name else 1)
        for name, shape in parameters(config).shapes.items()
        if len(shape) > 1 and size.vocabulary not in shape
    )
    tokens = sum(task.tokens.size for task in prompts)
    return float(tokens * cells * maps)


def default_count(trajectory: Trajectory, prompts: Sequence[Prompts], cells: int) -> int:
    """Return how many untrained models to measure; parameters are those of `work_per_model`."""
    checkpoints = len(trajectory.checkpoints)
    # More work never raises the count, and counting it takes transformers seconds to import.
    if untrained_count(checkpoints, _most_work(trajectory, prompts, cells)) == ENOUGH:
        return ENOUGH
    return untrained_count(checkpoints, work_per_model(trajectory, prompts, cells))


def _most_work(trajectory: Trajectory, prompts: Sequence[Prompts], cells: int) -> float:
    """Return a bound on `work_per_model`, as if each byte of a checkpoint's file were a weight."""
    if trajectory.config is None:
        return math.inf
    try:
        size = (trajectory.config / "model.safetensors").stat().st_size
    except OSError:
        return math.inf
    return float(sum(task.tokens.size for task in prompts) * cells * size)


def untrained_count(checkpoints: int, work: float) -> int:
    """Return how many untrained models to measure."""
    if ENOUGH * work <= LITTLE:
        return ENOUGH
    share = SHARE if ENOUGH * work > LARGE else 1
    return max(1, min(ENOUGH, checkpoints // share))


def note_few(count: int) -> None:
    """Say that there are fewer untrained models by default than allow a p-value."""
    if count < ENOUGH:
        warn(
            f"untrained models: {count} instead of {ENOUGH}, for the work that each takes; no "
            f"p-value against them is below 0.05. --untrained {ENOUGH} measures all "
            f"(untrained={ENOUGH} in Python)",
            CntbenchNote,
        )
