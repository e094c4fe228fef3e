"""Precision and device of a decoder: names of types, and decoders of another type or elsewhere.

A model in bfloat16 has its weights, the residual stream and all states rounded to 8 significant
bits. What is made of them is computed in single precision at least: lengths in norms, angles,
attention scores, the change of a target, readouts, and everything that is summed over prompts.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from cntbench.specs import Precision

if TYPE_CHECKING:
    from cntbench.models.decoder import Decoder

T = TypeVar("T")

TYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return a floating-point type, single precision in place of a narrower one."""
    return torch.promote_types(dtype, torch.float32)


def widened(values: Tensor) -> Tensor:
    """Return values in single precision at least; themselves if they are."""
    return values.to(wide(values.dtype))


def converted(
    model: Decoder, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Decoder:
    """Return a decoder with its weights in another type, or on another device.

    Parameters
    ----------
    model
        Its tensors are shared where nothing has to change.
    dtype
        Of the weights. Angles, and the geometry that lengths of heads' outputs are measured by,
        stay in single precision at least. A wider type makes nothing more exact than it is.
    device
        Where its tensors are to be.
    """
    return _converted(model, _To(dtype, device, fresh=False))


def in_double(model: Decoder) -> Decoder:
    """Return a copy of a decoder whose every tensor is a fresh one in double precision.

    No tensor is shared with the model, so that the copy can be differentiated even if the model
    was made in inference mode. Weights are those of the model: what was rounded stays rounded.
    """
    return _converted(model, _To(torch.float64, None, fresh=True))


class _To:
    """Converts tensors."""

    def __init__(
        self, dtype: torch.dtype | None, device: torch.device | str | None, *, fresh: bool
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.fresh = fresh

    def __call__(self, value: Tensor) -> Tensor:
        dtype = value.dtype
        if self.dtype is not None and value.is_complex():
            dtype = wide(self.dtype).to_complex()
        elif self.dtype is not None and value.is_floating_point():
            dtype = self.dtype
        return value.to(device=self.device, dtype=dtype, copy=self.fresh)


def _converted(value: T, to: _To) -> T:
    found: Any = value
    if isinstance(value, Tensor):
        found = to(value)
    elif isinstance(value, tuple):
        found = tuple(_converted(one, to) for one in value)
    elif isinstance(value, partial):
        given = {key: _converted(one, to) for key, one in value.keywords.items()}
        found = partial(value.func, *_converted(value.args, to), **given)
    elif type(value).__module__.startswith("cntbench.") and hasattr(value, "__dict__"):
        found = copy.copy(value)
        vars(found).update({key: _converted(one, to) for key, one in vars(value).items()})
        if hasattr(value, "with_geometry") and to.dtype is not None and to.dtype != wide(to.dtype):
            found = found.with_geometry()
    return found
