"""What Llama's relatives share: rotary positions, heads that share keys, windows, gated MLPs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.errors import CheckpointError, nearest
from cntbench.models.adapters import _base as base
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.heads import InputNorms
from cntbench.models.maps import Norm, RMSNorm
from cntbench.models.rotary import TYPES, Rotary, check_rotary, rotary_parameters

#: Kinds of attention by the config's ``layer_types``.
LAYER_TYPES = ("full_attention", "sliding_attention")


def _own(config: Any, key: str) -> Any:
    """Return the value of a key, or None if the family does not have it.

    Transformers keeps keys of other families in a config, and its model does not read them.
    """
    return getattr(config, key) if hasattr(type(config), key) else None


def activation_of(config: Any) -> str:
    """Return the name of the activation, which has two keys."""
    name: str = _own(config, "hidden_activation") or config.hidden_act
    return name


def sizes(
    config: Any,
    *,
    partial: bool = False,
    rotary_types: Sequence[str] = TYPES,
    without: bool = False,
    parallel: bool = False,
) -> base.Shape:
    """Return the sizes of a model.

    Takes whether heads may rotate only a part of their dims, the types of rotary embeddings that
    are supported, whether models without MLPs are, and whether blocks are parallel. Raises a
    `CheckpointError` if the config has an option that is not supported.
    """
    base.check_common(config, activation_of(config))
    check_rotary(config, rotary_types)
    if _own(config, "use_bidirectional_attention"):
        raise CheckpointError(
            "attention to later tokens is not supported",
            hint="Allowed: use_bidirectional_attention = false.",
        )
    if _own(config, "clip_qkv") is not None:
        raise CheckpointError(
            "queries, keys and values that are clipped are not supported",
            hint="Allowed: clip_qkv = null.",
        )
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    width = width_of(config)
    if heads % key_heads:
        raise CheckpointError(
            f"{heads} heads cannot share {key_heads} keys and values",
            hint="Allowed: num_attention_heads a multiple of num_key_value_heads.",
        )
    parameters = rotary_parameters(config).values()
    shares = [of_layer.get("partial_rotary_factor", 1.0) for of_layer in parameters]
    if width % 2 or (shares != [1.0] * len(shares) and not partial):
        raise CheckpointError(
            f"rotary positions on only some of a head's {width} dims are not supported",
            hint="Allowed: an even head_dim, without partial_rotary_factor.",
        )
    windows(config)
    if not without:
        base.check_mlps(config.intermediate_size)
    return base.shape_from(config, parallel=parallel, mlps=config.intermediate_size > 0)


def sizes_with_output_norms(config: Any) -> base.Shape:
    """Return the sizes of a model with norms after its sublayers; raises as `sizes` does."""
    if config.attention_bias:
        raise CheckpointError(
            "a bias of attention's output before a norm belongs to no head",
            hint="Allowed: attention_bias = false, as in all published models.",
        )
    return replace(sizes(config), refused=(("atp_star", base.NORM_AFTER_HEADS),))


def width_of(config: Any) -> int:
    """Return the width of a head."""
    width: int | None = getattr(config, "head_dim", None)
    return width or config.hidden_size // config.num_attention_heads


def windows(config: Any) -> list[int | None]:
    """Return the sliding window of each layer; None for those that see the whole prompt.

    Raises a `CheckpointError` if a layer attends in another way, or the length of the window is not
    given.
    """
    window, types = _own(config, "sliding_window"), _own(config, "layer_types")
    if types is None:  # one for all layers
        return [window] * config.num_hidden_layers
    for kind in types:
        if kind not in LAYER_TYPES:
            raise CheckpointError(
                f"layers of type {kind!r} are not supported", hint=nearest(kind, LAYER_TYPES)
            )
    sliding = [kind == "sliding_attention" for kind in types]
    if any(sliding) and window is None:
        raise CheckpointError(
            "some layers have a sliding window, but the config does not give its length",
            hint="Allowed: sliding_window, with use_sliding_window = true where it is a key, or "
            "full_attention.",
        )
    return [window if slides else None for slides in sliding]


def attention(
    config: Any,
    tensors: Mapping[str, Tensor],
    prefix: str,
    rotary: Rotary,
    *,
    scale: Tensor | None = None,
    biases: tuple[bool, bool] = (False, False),
) -> Attention:
    """Return the heads of a layer from its ``q_proj``, ``k_proj``, ``v_proj`` and ``o_proj``.

    Takes the scale of the norm that the heads read through, None if it has none, and whether the
    maps to queries, keys and values have biases, and whether the output has one.
    """
    names = (f"{prefix}self_attn.{kind}_proj" for kind in "qkv")
    maps = [base.linear(tensors, name, bias=biases[0]) for name in names]
    maps = maps if scale is None else [linear_map.after(scale) for linear_map in maps]
    output = base.linear(tensors, f"{prefix}self_attn.o_proj", bias=biases[1])
    return base.joined_heads(maps, output, rotary.width, rotary, config.num_key_value_heads)


def with_input_norms(
    heads: Attention, rotary: Rotary, query: Tensor, key: Tensor, epsilon: float
) -> Attention:
    """Return the heads with norms of queries and keys, given their scales."""
    scales = [
        rotary.paired(scale.unflatten(0, (-1, rotary.width))).flatten() for scale in (query, key)
    ]
    norms = InputNorms(*(RMSNorm(epsilon, scale) for scale in scales))
    return replace(heads, norms=norms)


def gated_mlp(
    config: Any,
    tensors: Mapping[str, Tensor],
    prefix: str,
    *,
    scale: Tensor | None = None,
    bias: bool = False,
) -> MLP:
    """Return the MLP of a layer from its ``gate_proj``, ``up_proj`` and ``down_proj``.

    Takes the scale of the norm that it reads through, None if it has none.
    """
    inner, gate = (
        base.linear(tensors, f"{prefix}mlp.{kind}_proj", bias=bias) for kind in ("up", "gate")
    )
    if scale is not None:
        inner, gate = inner.after(scale), gate.after(scale)
    outer = base.linear(tensors, f"{prefix}mlp.down_proj", bias=bias)
    return MLP(inner, outer, base.ACTIVATIONS[activation_of(config)], gate=gate)


def embedded(tokens: Tensor, *, weight: Tensor, scale: float) -> Tensor:
    """Return embeddings times a factor in single precision, as transformers rounds it."""
    factor = torch.tensor(scale, dtype=torch.float32, device=weight.device)
    return F.embedding(tokens, weight) * factor.to(weight.dtype)


def rotaries(config: Any, like: Tensor) -> list[Rotary]:
    """Return the position embedding of each layer, which may differ by type of layer.

    ``like`` is any weight of the model.
    """
    width, by_layer = width_of(config), None not in rotary_parameters(config)
    kinds = config.layer_types if by_layer else [None] * config.num_hidden_layers
    by_kind = {kind: Rotary(config, width, width, like, kind) for kind in dict.fromkeys(kinds)}
    return [by_kind[kind] for kind in kinds]


def assembled(
    config: Any,
    tensors: Mapping[str, Tensor],
    size: base.Shape,
    stages: Sequence[Stage],
    final_norm: Norm | None = None,
) -> Decoder:
    """Return the decoder of stages between an embedding and a norm, by default Llama's."""
    embedding = tensors["model.embed_tokens.weight"]
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=base.without_empty_mlps(stages),
        final_norm=final_norm or RMSNorm(config.rms_norm_eps, tensors["model.norm.weight"]),
        unembed=base.unembedding(tensors, "lm_head", embedding=embedding, config=config),
        components=size.components,
        context=size.context,
    )
