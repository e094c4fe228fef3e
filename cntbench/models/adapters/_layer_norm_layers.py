"""What older architectures share: LayerNorm folded into maps, separate queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from cntbench.models.adapters._base import joined_heads, linear
from cntbench.models.blocks import Attention
from cntbench.models.maps import Linear
from cntbench.models.rotary import Rotary


def folded(tensors: Mapping[str, Tensor], name: str, norm: str, *, bias: bool = True) -> Linear:
    """Return an affine map of the standardised stream, with a norm's scale and shift folded in."""
    return linear(tensors, name, bias=bias).after(
        tensors[f"{norm}.weight"], tensors[f"{norm}.bias"]
    )


def with_positions(tokens: Tensor, *, words: Tensor, positions: Tensor) -> Tensor:
    """Return embeddings of tokens plus those of their positions."""
    return F.embedding(tokens, words) + positions[: tokens.shape[-1]]


def attention(
    tensors: Mapping[str, Tensor],
    prefix: str,
    norm: str,
    heads: int,
    *,
    biases: tuple[bool, bool] = (True, True),
    rotary: Rotary | None = None,
) -> Attention:
    """Return the heads of a layer from its ``q_proj``, ``k_proj``, ``v_proj`` and ``out_proj``.

    Takes the name of the norm that the heads read through, their number, and whether the maps to
    queries, keys and values have biases, and whether the output has one.
    """
    maps = [folded(tensors, f"{prefix}{kind}_proj", norm, bias=biases[0]) for kind in "qkv"]
    output = linear(tensors, f"{prefix}out_proj", bias=biases[1])
    return joined_heads(maps, output, output.weight.shape[1] // heads, rotary)
