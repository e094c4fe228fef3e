"""Conversion of decoders to another floating-point type or device.

A model in bfloat16 has its weights, residual stream and states rounded to 8 significant bits.
Derived quantities are computed in single precision at least: lengths in norms, angles, attention
scores, the change of a target, readouts, and all sums over prompts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder
from cntbench.models.products import wide
from cntbench.specs import Precision

T = TypeVar("T")

TYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def mapped(value: T, convert: Callable[[Tensor], Tensor]) -> T:
    """Return a decoder, or a part of one, with ``convert`` applied to all of its tensors."""
    result: Any = value
    if isinstance(value, Tensor):
        result = convert(value)
    elif isinstance(value, tuple):
        result = tuple(mapped(item, convert) for item in value)
    elif isinstance(value, partial):
        keywords = {key: mapped(item, convert) for key, item in value.keywords.items()}
        result = partial(value.func, *mapped(value.args, convert), **keywords)
    elif type(value).__module__.startswith("cntbench.") and hasattr(value, "__dict__"):
        result = copy.copy(value)
        vars(result).update({key: mapped(item, convert) for key, item in vars(value).items()})
    return result


def converted(model: Decoder, dtype: torch.dtype) -> Decoder:
    """Return a decoder with its weights in another type, or the decoder itself if it has that type.

    Rotary angles and the geometry of heads' outputs stay in single precision at least. A wider type
    does not restore precision.
    """
    if model.dtype == dtype:
        return model
    result = mapped(model, partial(_of_type, dtype=dtype))
    if dtype == wide(dtype):
        return result
    stages = [
        replace(
            stage,
            blocks=tuple(
                block.with_geometry() if isinstance(block, Attention) else block
                for block in stage.blocks
            ),
        )
        for stage in result.stages
    ]
    return replace(result, stages=tuple(stages))


def moved(model: Decoder, device: torch.device | str) -> Decoder:
    """Return a decoder on another device."""
    return mapped(model, lambda value: value.to(device))


def copied_ahead(model: Decoder, device: torch.device | str) -> Decoder:
    """Return a decoder on a GPU that is at work on another one.

    The copy has its own stream and starts from pinned memory: it does not wait for the work, and
    the work does not wait for it. Returns the decoder itself on a CPU, and if both do not fit.
    """
    if device == "cpu":
        return model
    stream = _copying_stream()
    try:
        with torch.cuda.stream(stream):
            copy = mapped(model, lambda value: value.pin_memory().to(device, non_blocking=True))
        stream.synchronize()
    except (RuntimeError, MemoryError):  # of the GPU, or memory that can be pinned
        return model
    return copy


@cache
def _copying_stream() -> torch.cuda.Stream:
    """Return the stream of all copies: torch reuses memory only on the stream that it was for."""
    return torch.cuda.Stream()


def weight_bytes(model: Decoder) -> int:
    """Return the size of a decoder's tensors, on any device [bytes]."""
    size = 0

    def add(value: Tensor) -> Tensor:
        nonlocal size
        size += value.nbytes
        return value

    mapped(model, add)
    return size


def in_double(model: Decoder) -> Decoder:
    """Return a copy of a decoder in double precision that shares no tensor with it.

    The copy can be differentiated even if the model was made in inference mode. Rounded weights
    stay rounded.
    """
    return mapped(model, partial(_of_type, dtype=torch.float64, copy=True))


def _of_type(value: Tensor, *, dtype: torch.dtype, copy: bool = False) -> Tensor:
    if value.is_complex():
        return value.to(wide(dtype).to_complex(), copy=copy)
    return value.to(dtype if value.is_floating_point() else value.dtype, copy=copy)
