"""The parts of blocks: norms of the residual stream, and affine maps.

Dims: ``run`` counts versions of the same prompts (clean, ablated), ``hidden`` is d_model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.models.products import Activation, affine, wide


class Norm(Protocol):
    """A norm of the residual stream, dims ``run, prompt, position, hidden``."""

    def __call__(self, stream: Tensor) -> Tensor:
        """Return the normalised stream."""
        ...

    def frozen(self, stream: Tensor) -> Tensor:
        """Return the same, with a gradient that takes the divisor for a constant."""
        ...

    def derivative(self, stream: Tensor, change: Tensor) -> Tensor:
        """Return how the normalised stream changes to first order with the stream."""
        ...


@dataclass(frozen=True)
class LayerNorm:
    """Standardisation to mean 0 and variance 1, then a scale and a shift.

    Parameters
    ----------
    epsilon
        Added to the variance.
    scale, shift
        Dims ``hidden``; None if they are folded into the maps that read the stream.
    """

    epsilon: float
    scale: Tensor | None = None
    shift: Tensor | None = None

    def __call__(self, stream: Tensor) -> Tensor:
        """Return the normalised stream, dims ``run, prompt, position, hidden``."""
        neutral = _neutral(stream.shape[-1], stream.dtype, stream.device)
        parameters = zip((self.scale, self.shift), neutral, strict=True)
        scale, shift = (other if own is None else own.to(stream) for own, other in parameters)
        return F.layer_norm(stream, stream.shape[-1:], scale, shift, self.epsilon)

    def frozen(self, stream: Tensor) -> Tensor:
        """Return the normalised stream; its gradient takes the deviation for a constant."""
        centred = stream - stream.mean(dim=-1, keepdim=True)
        square = centred.detach().square().mean(dim=-1, keepdim=True)
        normed = centred * (square + self.epsilon).rsqrt()
        normed = normed if self.scale is None else normed * self.scale.to(stream)
        return normed if self.shift is None else normed + self.shift.to(stream)

    def derivative(self, stream: Tensor, change: Tensor) -> Tensor:
        """Return how the normalised stream changes to first order with the stream."""
        centred = stream - stream.mean(dim=-1, keepdim=True)
        inverse = (centred.square().mean(dim=-1, keepdim=True) + self.epsilon).rsqrt()
        moved = _across(centred * inverse, change - change.mean(dim=-1, keepdim=True)) * inverse
        return moved if self.scale is None else moved * self.scale.to(stream)


@cache
@torch.inference_mode(False)  # gradients pass through them, too
def _neutral(width: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a scale and a shift that change nothing.

    Torch's kernel for CPUs uses vector instructions only if it gets both.
    """
    like = torch.empty(width, dtype=dtype, device=device)
    return torch.ones_like(like), torch.zeros_like(like)


@dataclass(frozen=True)
class RMSNorm:
    """Division by the root mean square, then a scale: x / √(mean(x²) + ε) · scale.

    Source: Zhang & Sennrich 2019, "Root mean square layer normalization" (arXiv 1910.07467).

    Parameters
    ----------
    epsilon
        Added to the mean square.
    scale
        Dims ``hidden``; None if it is folded into the maps that read the stream.
    """

    epsilon: float
    scale: Tensor | None = None

    def __call__(self, stream: Tensor) -> Tensor:
        """Return the normalised stream, dims ``run, prompt, position, hidden``."""
        return self._divided(stream, stream)

    def frozen(self, stream: Tensor) -> Tensor:
        """Return the normalised stream; its gradient takes the root mean square for a constant."""
        return self._divided(stream, stream.detach())

    def derivative(self, stream: Tensor, change: Tensor) -> Tensor:
        """Return how the normalised stream changes to first order with the stream."""
        inverse = (stream.square().mean(dim=-1, keepdim=True) + self.epsilon).rsqrt()
        moved = _across(stream * inverse, change) * inverse
        return moved if self.scale is None else moved * self.scale

    def _divided(self, stream: Tensor, by: Tensor) -> Tensor:
        # On CPUs torch.rms_norm squares into a tensor of the stream's size: twice as slow.
        length = torch.linalg.vector_norm(by, dim=-1, keepdim=True, dtype=wide(by.dtype))
        normed = stream * (length.square() / by.shape[-1] + self.epsilon).rsqrt()
        return (normed if self.scale is None else normed * self.scale).to(stream.dtype)


@dataclass(frozen=True)
class Unnormed:
    """No norm: blocks read the stream itself."""

    def __call__(self, stream: Tensor) -> Tensor:
        """Return the stream."""
        return stream

    def frozen(self, stream: Tensor) -> Tensor:
        """Return the stream."""
        return stream

    def derivative(self, stream: Tensor, change: Tensor) -> Tensor:
        """Return the change."""
        return change


def _across(normed: Tensor, change: Tensor) -> Tensor:
    """Return the part of a change that is orthogonal to the normalised stream."""
    return change - normed * (normed * change).mean(dim=-1, keepdim=True)


@dataclass(frozen=True)
class Linear:
    """An affine map: weight and bias, dims ``output, hidden`` and ``output``."""

    weight: Tensor
    bias: Tensor

    def after(self, scale: Tensor, shift: Tensor | None = None) -> Linear:
        """Return ``weight @ (scale * x + shift) + bias`` as one affine map of x.

        Sums are in double precision, so that the rounded map is the same on every processor.
        """
        bias = self.bias
        if shift is not None:
            moved = (self.weight * shift).sum(dim=-1, dtype=torch.float64)
            bias = (bias + moved).to(bias.dtype)
        return Linear((self.weight * scale).contiguous(), bias)

    def __call__(self, stream: Tensor) -> Tensor:
        """Apply the map to the last dim."""
        return affine(stream, self.weight, self.bias, lasting=True)

    def then(self, activation: Activation, stream: Tensor) -> Tensor:
        """Apply the map to the last dim, then the activation."""
        return affine(stream, self.weight, self.bias, activation, lasting=True)

    def capped(self, outputs: Tensor) -> Tensor:
        """Return outputs of the plain map after a cap; here there is none."""
        return outputs

    def slope(self, outputs: Tensor) -> Tensor | None:
        """Return the derivative of `capped`, from what it returns; None if it is 1."""
        return None

    def rows(self, chosen: slice) -> Linear:
        """Return the map to the chosen outputs."""
        return Linear(self.weight[chosen], self.bias[chosen])


@dataclass(frozen=True)
class CappedLinear(Linear):
    """An affine map whose outputs y become cap · tanh(y / cap), a soft cap.

    Source: Gemma Team 2024, "Gemma 2" (arXiv 2408.00118), section 2.
    """

    cap: float

    def __call__(self, stream: Tensor) -> Tensor:
        """Apply the map to the last dim, then the cap."""
        return self.capped(super().__call__(stream))

    def capped(self, outputs: Tensor) -> Tensor:
        """Return outputs of the plain map after the cap."""
        return self.cap * torch.tanh(outputs / self.cap)

    def slope(self, outputs: Tensor) -> Tensor:
        """Return the derivative of `capped`, from what it returns."""
        return 1 - (outputs / self.cap).square()
