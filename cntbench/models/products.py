"""Affine maps of many rows, by the fastest kernel in torch.

oneDNN adds the bias and applies the activation while a tile of the product is in the cache, and it
uses the widest vector instructions of any vendor's processor. Torch has no public name for it:
``torch.compile`` calls ``mkldnn::_linear_pointwise``. If the operator is missing, takes other
arguments or does not apply (gradients, double precision, GPUs), the public operators are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

#: Values of the largest weight that is held a second time, as oneDNN reads it.
LARGEST_ARRANGED = 2**18
#: Rows for which that order is chosen. It does not change the numbers.
TYPICAL_ROWS = 3072
#: Weights in that order, for as long as the weights exist.
_ARRANGED = WeakTensorKeyDictionary()


@dataclass(frozen=True)
class Activation:
    """A function of hidden units, with its name and variant in oneDNN."""

    function: Callable[[Tensor], Tensor]
    name: str
    variant: str = ""

    def __call__(self, hidden: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(hidden)

    def slope(self, hidden: Tensor) -> Tensor:
        """Return the derivative of the function."""
        with torch.inference_mode(False), torch.enable_grad():
            at = hidden.clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.function(at).sum(), at)
        return slope


GELU = Activation(F.gelu, "gelu", "none")
GELU_TANH = Activation(partial(F.gelu, approximate="tanh"), "gelu", "tanh")
RELU = Activation(F.relu, "relu")
SILU = Activation(F.silu, "swish")


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return a floating-point type, or single precision if it is narrower."""
    return torch.promote_types(dtype, torch.float32)


def widened(values: Tensor) -> Tensor:
    """Return values in single precision at least."""
    return values.to(wide(values.dtype))


def affine(
    rows: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation: Activation | None = None,
    *,
    lasting: bool = False,
) -> Tensor:
    """Return ``activation(rows @ weight.T + bias)``, dims ``…, output``.

    Rows have dims ``…, hidden``, the weight ``output, hidden``. ``lasting`` says that the weight
    stays as it is, and will be used again.
    """
    if _applies(rows) and fused_is_available():
        weight = _arranged(weight) if lasting else weight
        name, variant = (activation.name, activation.variant) if activation else ("none", "")
        return _fused(rows, weight, bias, name, variant)
    mapped = F.linear(rows, weight, bias)
    return activation(mapped) if activation else mapped


@cache
def fused_is_available() -> bool:
    """Return whether torch has the operator and it accepts these arguments."""
    row, weight, bias = torch.ones(1, 2), torch.ones(1, 2), torch.ones(1)
    try:
        return bool(_fused(row, _arranged(weight), bias, "relu", "").item() == 3)
    except (AttributeError, RuntimeError, TypeError):
        return False


def _applies(rows: Tensor) -> bool:
    return (
        rows.dtype == torch.float32
        and rows.device.type == "cpu"
        and rows.numel() > 0
        and not torch.is_grad_enabled()
    )


def _arranged(weight: Tensor) -> Tensor:
    """Return a weight in the order in which oneDNN reads it, which it would make at every call.

    Large weights are not held twice, nor are parts of others.
    """
    if weight.numel() > LARGEST_ARRANGED or weight.nbytes < weight.untyped_storage().nbytes():
        return weight
    if weight not in _ARRANGED:
        _ARRANGED[weight] = torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_ROWS)
    arranged: Tensor = _ARRANGED[weight]
    return arranged


def _fused(rows: Tensor, weight: Tensor, bias: Tensor, name: str, variant: str) -> Tensor:
    operator = torch.ops.mkldnn._linear_pointwise.default  # without a search among overloads
    product: Tensor = operator(rows, weight, bias, name, [], variant)
    return product
