"""Precision and device of a decoder: names of types, and decoders of another type or elsewhere.

A model in bfloat16 has its weights, the residual stream and all states rounded to 8 significant
bits. What is made of them is computed in single precision at least: lengths in norms, angles,
attention scores, the change of a target, readouts, and everything that is summed over prompts.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
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
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def mapped(value: T, each: Callable[[Tensor], Tensor]) -> T:
    """Return a decoder, or a part of one, with something else for each of its tensors."""
    found: Any = value
    if isinstance(value, Tensor):
        found = each(value)
    elif isinstance(value, tuple):
        found = tuple(mapped(one, each) for one in value)
    elif isinstance(value, partial):
        given = {key: mapped(one, each) for key, one in value.keywords.items()}
        found = partial(value.func, *mapped(value.args, each), **given)
    elif type(value).__module__.startswith("cntbench.") and hasattr(value, "__dict__"):
        found = copy.copy(value)
        vars(found).update({key: mapped(one, each) for key, one in vars(value).items()})
    return found


def converted(model: Decoder, dtype: torch.dtype) -> Decoder:
    """Return a decoder with its weights in another type; equal ones are shared.

    Angles, and the geometry that lengths of heads' outputs are measured by, stay in single
    precision at least. A wider type makes nothing more exact than it is.
    """
    found = mapped(model, partial(_of_type, dtype=dtype))
    if dtype == wide(dtype):
        return found
    stages = [
        replace(
            stage,
            blocks=tuple(
                block.with_geometry() if isinstance(block, Attention) else block
                for block in stage.blocks
            ),
        )
        for stage in found.stages
    ]
    return replace(found, stages=tuple(stages))


def moved(model: Decoder, device: torch.device | str) -> Decoder:
    """Return a decoder on another device, itself if it is there."""
    return mapped(model, lambda value: value.to(device))


def in_double(model: Decoder) -> Decoder:
    """Return a copy of a decoder whose every tensor is a fresh one in double precision.

    No tensor is shared with the model, so that the copy can be differentiated even if the model
    was made in inference mode. Weights are those of the model: what was rounded stays rounded.
    """
    return mapped(model, partial(_of_type, dtype=torch.float64, copy=True))


def _of_type(value: Tensor, *, dtype: torch.dtype, copy: bool = False) -> Tensor:
    if value.is_complex():
        return value.to(wide(dtype).to_complex(), copy=copy)
    return value.to(dtype if value.is_floating_point() else value.dtype, copy=copy)
