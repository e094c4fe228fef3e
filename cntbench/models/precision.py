"""A decoder in another precision."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from cntbench.models.decoder import Decoder

T = TypeVar("T")


def in_double(model: Decoder) -> Decoder:
    """Return a copy of a decoder whose every tensor is a fresh one in double precision.

    No tensor is shared with the model, so that the copy can be differentiated even if the model
    was made in inference mode. Weights are those of the model: what was rounded stays rounded.
    """
    return _double(model)


def _double(value: T) -> T:
    converted: Any = value
    if isinstance(value, Tensor):
        wide = torch.complex128 if value.is_complex() else torch.float64
        exact = value.is_complex() or value.is_floating_point()
        converted = value.to(wide, copy=True) if exact else value.clone()
    elif isinstance(value, tuple):
        converted = tuple(map(_double, value))
    elif isinstance(value, partial):
        given = {key: _double(one) for key, one in value.keywords.items()}
        converted = partial(value.func, *_double(value.args), **given)
    elif type(value).__module__.startswith("cntbench.") and hasattr(value, "__dict__"):
        converted = copy.copy(value)
        vars(converted).update({key: _double(one) for key, one in vars(value).items()})
    return converted
