"""Measure the speed of the engine on this machine: the FLOPs of a few timed calls per second.

A model without weights gets random ones. A model that is too large to time in a few seconds, or
does not fit into memory, is replaced by some of its layers, or of those of a smaller Pythia model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cntbench.engine.chunking import predicted_bytes
from cntbench.engine.influence import influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.models.decoder import Decoder
from cntbench.models.device import Device
from cntbench.models.outline import pythia
from cntbench.models.precision import mapped, moved, weight_bytes
from cntbench.parallel.processes import one_thread

#: Least duration of the measurement [s]; one call may take longer.
SECONDS = 1.0
#: Work of a single call, reached by leaving out prompts [FLOP].
CALL_FLOPS = 10**10
#: Most work of a single call; models with larger calls are replaced [FLOP].
MOST_FLOPS = 2 * 10**11
#: Largest share of the free memory that a model with random weights may take.
MEMORY_SHARE = 0.25
#: Numbers of layers that may replace a model, in the order of trial.
LAYERS = (8, 4, 2)
#: Count of random numbers, which random weights repeat.
_RANDOM = 2**20

Clock = Callable[[], float]


class Call(NamedTuple):
    """A request that is timed, and its work [FLOP]."""

    request: Request
    flops: int


@dataclass(frozen=True)
class Speed:
    """The speed of the engine on one thread.

    Parameters
    ----------
    loading
        Time to read and check a checkpoint [s]; 0 if unknown.
    of
        What was timed, in a few words.
    """

    flops: float
    loading: float
    of: str = "a part of this study"


def calibrated(
    calls: Sequence[Request], seed: int, device: Device = "cpu", clock: Clock = time.perf_counter
) -> Speed:
    """Measure the speed of the engine on one thread, for calls whose model may have no weights."""
    small, of = _timed(calls)
    model = moved(_with_weights(small[0].request.model), device)
    timed = [Call(replace(call.request, model=model), call.flops) for call in small]
    return Speed(measured_rate(timed, seed, clock), 0.0, of)


@one_thread()
def measured_rate(calls: Sequence[Call], seed: int, clock: Clock = time.perf_counter) -> float:
    """Return FLOPs of matrix products per second: of calls in turn, after an untimed first one."""
    influence(replace(calls[0].request, seed=seed))
    total, turn, start = 0, 0, clock()
    while (elapsed := clock() - start) < SECONDS or not turn:
        request, flops = calls[turn % len(calls)]
        influence(replace(request, seed=seed))
        total += flops
        turn += 1
    return total / elapsed


def _timed(calls: Sequence[Request]) -> tuple[list[Call], str]:
    """Return calls that can be timed in place of others, and a description of their model."""
    for model, of in _candidates(calls[0].model):
        if not _weights_fit(model):
            continue  # counting the work of a large model takes seconds
        small = []
        for call in calls:
            small.append(_shortened(_with(call, model)))
            if not _is_possible(small[-1]):
                break
        else:
            return small, of
    return [_shortened(_with(calls[0], model))], of  # the smallest candidate


def _candidates(model: Decoder) -> Iterator[tuple[Decoder, str]]:
    """Yield models that could be timed, from the model itself to ever smaller replacements."""
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
    first = [component for component in model.components if component.layer < count]
    stages, components = [], 0
    for stage in model.stages:
        if components < len(first):
            stages.append(stage)
        components += sum(block.n_components for block in stage.blocks)
    return replace(model, stages=tuple(stages), components=tuple(first))


def _weights_fit(model: Decoder) -> bool:
    """Return whether the weights that a model without them gets fit the memory."""
    return not model.unembed.weight.is_meta or weight_bytes(model) <= MEMORY_SHARE * free_memory()


def _is_possible(call: Call) -> bool:
    """Return whether a call is short enough, and fits the memory and the model's context."""
    model, needed = call.request.model, predicted_bytes(call.request)
    if model.unembed.weight.is_meta:
        needed += weight_bytes(model)
    return (
        call.request.prompts.tokens.shape[1] <= model.context
        and needed <= MEMORY_SHARE * free_memory()
        and call.flops <= MOST_FLOPS
    )


def _with(call: Request, model: Decoder) -> Request:
    """Return the call with another model, which may have fewer tokens and components.

    Of the chosen components, those remain that it has, or all if it has none of them.
    """
    last = model.vocabulary - 1
    names = ("tokens", "reference", "other", "further", "targets", "decoys")
    tokens = {name: getattr(call.prompts, name) for name in names}
    cut = {k: np.minimum(v, last) for k, v in tokens.items() if v is not None}
    sources, targets = (
        [index for index in chosen or () if index < len(model.components)] or None
        for chosen in (call.sources, call.targets)
    )
    prompts = replace(call.prompts, **cut)
    return replace(call, model=model, prompts=prompts, sources=sources, targets=targets)


def _with_weights(model: Decoder) -> Decoder:
    """Return a model with random numbers in place of missing weights."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(_RANDOM, generator=generator) * 0.02

    def weights(value: Tensor) -> Tensor:
        if not value.is_meta:
            return value
        if value.is_complex():
            return torch.ones(value.shape, dtype=value.dtype)
        numbers = torch.empty(value.numel(), dtype=value.dtype)
        for part in numbers.split(_RANDOM):
            part.copy_(noise[: len(part)])
        return numbers.view(value.shape)

    return mapped(model, weights)


def _shortened(request: Request) -> Call:
    """Leave out prompts of a large call, and count its work."""
    flops, count = predicted_work(request).flops, len(request.prompts)
    fewest = 1 + max(ablation.draws for ablation in request.ablations)  # draws need other prompts
    fewer = min(count, max(fewest, count * CALL_FLOPS // flops))
    if fewer == count:
        return Call(request, flops)
    request = replace(request, prompts=request.prompts.take(slice(fewer)))
    return Call(request, predicted_work(request).flops)


def free_memory() -> int:
    """Return the free memory of this machine [bytes]."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        return 2**32
