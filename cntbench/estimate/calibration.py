"""How fast the engine is here and now: a few calls are timed, and their FLOPs divided by the time.

The model need not be there: one without weights gets random ones. What is too large to be timed in
a few seconds, or does not fit the memory, is stood in for by some of its own layers, or by some of
a smaller Pythia model's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cntbench.engine.chunking import predicted_bytes
from cntbench.engine.influence import influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.models.decoder import Decoder
from cntbench.models.device import Device, prepare
from cntbench.models.outline import pythia
from cntbench.models.precision import mapped, moved

#: Least time to measure the rate for [s], unless one call takes longer.
SECONDS = 1.0
#: Work of a single call that the rate is measured on, as far as prompts can be left out [FLOP].
CALL_FLOPS = 10**10
#: Most work of a single call; a model whose calls are larger is stood in for [FLOP].
MOST_FLOPS = 2 * 10**11
#: Share of the memory that is free which a model with random weights may take.
MEMORY_SHARE = 0.25
#: Layers of a model that stand in for it, the first that serve.
LAYERS = (8, 4, 2)
#: Random numbers that random weights are made of, over and over.
_RANDOM = 2**20

Clock = Callable[[], float]


@dataclass(frozen=True)
class Speed:
    """How fast the engine is here and now, on one thread.

    Parameters
    ----------
    flops
        FLOPs of matrix products per second.
    loading
        Time to read and check a checkpoint [s]; 0 if none could be read.
    of
        What was timed, in a few words.
    """

    flops: float
    loading: float
    of: str = "a part of this study"


def calibrated(
    calls: Sequence[Request], seed: int, device: Device = "cpu", clock: Clock = time.perf_counter
) -> Speed:
    """Measure how many FLOPs of matrix products the engine does per second, on one thread.

    Parameters
    ----------
    calls
        What a run would call for; their model may be on torch's meta device.
    seed
        Of random draws.
    device
        What to compute on.
    clock
        Seconds, from any start.
    """
    prepare(device)
    small, of = _timed(calls)
    model = moved(_with_weights(small[0].model), device)
    made = [replace(call, model=model) for call in small]
    return Speed(measured_rate(made, seed, clock), 0.0, of)


def measured_rate(calls: Sequence[Request], seed: int, clock: Clock = time.perf_counter) -> float:
    """Return FLOPs of matrix products per second.

    Parameters
    ----------
    calls
        Each is made in turn until enough time has passed; the first one once before the clock
        starts.
    seed, clock
        As `calibrated` takes them.
    """
    flops = [predicted_work(call).flops for call in calls]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        influence(replace(calls[0], seed=seed))
        done, turn, start = 0, 0, clock()
        while (passed := clock() - start) < SECONDS or not turn:
            influence(replace(calls[turn % len(calls)], seed=seed))
            done += flops[turn % len(calls)]
            turn += 1
    finally:
        torch.set_num_threads(threads)
    return done / passed


def weight_bytes(model: Decoder) -> int:
    """Return the size of the weights that grow with the model, as the engine holds them [bytes]."""
    parameters = model.unembed.weight.numel() * 2  # and the embedding
    for stage in model.stages:
        for block in stage.blocks:
            tensors = [value for value in vars(block).values() if isinstance(value, Tensor)]
            linear = [value for value in vars(block).values() if hasattr(value, "weight")]
            parameters += sum(tensor.numel() for tensor in tensors)
            parameters += sum(one.weight.numel() + one.bias.numel() for one in linear)
    return parameters * model.dtype.itemsize


def _timed(calls: Sequence[Request]) -> tuple[list[Request], str]:
    """Return calls that can be timed in place of some, and what they are calls of."""
    for model, of in _candidates(calls[0].model):
        small = []
        for call in calls:
            small.append(_shortened(_with(call, model)))
            if not _is_possible(small[-1]):
                break
        else:
            return small, of
    return small[:1], of  # the smallest there is


def _candidates(model: Decoder) -> Iterator[tuple[Decoder, str]]:
    """Yield what could be timed, from the model itself to ever smaller stand-ins."""
    random = ", with random weights" if model.unembed.weight.is_meta else ""
    layers = model.components[-1].layer + 1
    yield model, "a part of this study" + random
    for count in LAYERS:
        if count < layers:
            yield _first_layers(model, count), f"{count} of the model's {layers} layers{random}"
    for repository, outline in reversed(pythia().items()):
        if not repository.endswith("-deduped"):
            name = repository.partition("/")[2]
            cut = _first_layers(outline.decoder(model.dtype), LAYERS[-1])
            yield cut, f"{LAYERS[-1]} layers of {name}'s shape, with random weights"


def _first_layers(model: Decoder, count: int) -> Decoder:
    kept = [component for component in model.components if component.layer < count]
    stages, found = [], 0
    for stage in model.stages:
        if found < len(kept):
            stages.append(stage)
        found += sum(block.n_components for block in stage.blocks)
    return replace(model, stages=tuple(stages), components=tuple(kept))


def _is_possible(call: Request) -> bool:
    """Say whether a call is short enough, and fits the memory and the model's context."""
    needed = predicted_bytes(call)
    if call.model.unembed.weight.is_meta:
        needed += weight_bytes(call.model)
    return (
        call.prompts.tokens.shape[1] <= call.model.context
        and needed <= MEMORY_SHARE * free_memory()
        and predicted_work(call).flops <= MOST_FLOPS
    )


def _with(call: Request, model: Decoder) -> Request:
    """Return the call of another model, whose vocabulary may be smaller."""
    last = model.vocabulary - 1
    names = ("tokens", "reference", "other", "further", "targets", "decoys")
    tokens = {name: getattr(call.prompts, name) for name in names}
    cut = {k: np.minimum(v, last) for k, v in tokens.items() if v is not None}
    return replace(call, model=model, prompts=replace(call.prompts, **cut))


def _with_weights(model: Decoder) -> Decoder:
    """Return a model with random numbers in place of those that it does not have."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(_RANDOM, generator=generator) * 0.02

    def weights(value: Tensor) -> Tensor:
        if not value.is_meta:
            return value
        if value.is_complex():
            return torch.ones(value.shape, dtype=value.dtype)
        found = torch.empty(value.numel(), dtype=value.dtype)
        for part in found.split(_RANDOM):
            part.copy_(noise[: len(part)])
        return found.view(value.shape)

    return mapped(model, weights)


def _shortened(call: Request) -> Request:
    """Leave prompts out of a call as long as it is a large one."""
    flops, count = predicted_work(call).flops, len(call.prompts)
    fewest = 1 + max(ablation.draws for ablation in call.ablations)  # others to draw on
    kept = min(count, max(fewest, count * CALL_FLOPS // flops))
    return replace(call, prompts=call.prompts.take(slice(kept)))


def free_memory() -> int:
    """Return the memory of this machine that is free for programs [bytes]."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        told = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(told.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return 2**32
