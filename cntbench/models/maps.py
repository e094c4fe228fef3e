"""The parts of blocks: norms of the residual stream, and affine maps.

Dims: ``run`` counts versions of the same prompts (clean, ablated), ``hidden`` is d_model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.models.products import Activation, affine, wide


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
        parameters = (self.scale, self.shift)
        scale, shift = (None if value is None else value.to(stream) for value in parameters)
        return F.layer_norm(stream, stream.shape[-1:], scale, shift, self.epsilon)


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
        # On CPUs torch.rms_norm squares into a tensor of the stream's size: twice as slow.
        length = torch.linalg.vector_norm(stream, dim=-1, keepdim=True, dtype=wide(stream.dtype))
        normed = stream * (length.square() / stream.shape[-1] + self.epsilon).rsqrt()
        return (normed if self.scale is None else normed * self.scale).to(stream.dtype)


@dataclass(frozen=True)
class Linear:
    """An affine map.

    Parameters
    ----------
    weight, bias
        Dims ``output, hidden`` and ``output``.
    """

    weight: Tensor
    bias: Tensor

    def after(self, scale: Tensor, shift: Tensor | None = None) -> Linear:
        """Return ``weight @ (scale * x + shift) + bias`` as one affine map of x."""
        bias = self.bias if shift is None else self.bias + self.weight @ shift
        return Linear((self.weight * scale).contiguous(), bias)

    def __call__(self, stream: Tensor) -> Tensor:
        """Apply the map to the last dim."""
        return affine(stream, self.weight, self.bias)

    def then(self, activation: Activation, stream: Tensor) -> Tensor:
        """Apply the map to the last dim, then the activation."""
        return affine(stream, self.weight, self.bias, activation)

    def rows(self, chosen: slice) -> Linear:
        """Return the map to the chosen outputs."""
        return Linear(self.weight[chosen], self.bias[chosen])
