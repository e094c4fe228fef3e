"""Phi-3 and Phi-4: Llama's layers from fused maps; rotary positions on a part of each head.

LongRoPE is computed up to the length of the original context, where its short factors hold.
Equations follow ``Phi3ForCausalLM`` of the transformers library; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from cntbench.models.adapters import _rotary_layers as layers
from cntbench.models.adapters._base import Shape, within
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import RMSNorm
from cntbench.models.rotary import ROTARY_BUFFERS, TYPES, Rotary

if TYPE_CHECKING:
    from transformers import Phi3Config

MODEL_TYPES = ("phi3",)
BUFFERS = ROTARY_BUFFERS
EXACT = (
    "fused maps, sliding windows, rotary positions on a part of each head, LongRoPE's short part"
)


def shape(config: Phi3Config) -> Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    size = layers.sizes(config, partial=True, rotary_types=(*TYPES, "longrope"))
    if config.rope_parameters["rope_type"] != "longrope":
        return size
    original = config.rope_parameters["original_max_position_embeddings"]
    return replace(size, context=min(size.context, original))


def decoder(config: Phi3Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a Phi-3 ``state_dict`` to stages."""
    size, norm, width = shape(config), RMSNorm(config.rms_norm_eps), layers.width_of(config)
    rotated = int(width * config.rope_parameters.get("partial_rotary_factor", 1.0))
    rotary = Rotary(config, width, rotated, tensors["model.embed_tokens.weight"])
    stages: list[Stage] = []
    for layer, window in enumerate(layers.windows(config)):
        prefix = f"model.layers.{layer}."
        before_heads, before_mlp = (
            tensors[f"{prefix}{name}_layernorm.weight"] for name in ("input", "post_attention")
        )
        maps = _apart(config, tensors, prefix)
        heads = within(layers.attention(config, maps, prefix, rotary, scale=before_heads), window)
        mlp = layers.gated_mlp(config, maps, prefix, scale=before_mlp)
        stages += [Stage(norm, (heads,)), Stage(norm, (mlp,))]
    return layers.assembled(config, tensors, size, stages)


def _apart(config: Phi3Config, tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the maps of a layer by the names that they have in Llama."""
    width = layers.width_of(config)
    rows = [config.num_attention_heads * width, *2 * [config.num_key_value_heads * width]]
    names = [f"self_attn.{kind}_proj" for kind in "qkv"], ["mlp.gate_proj", "mlp.up_proj"]
    fused = (
        tensors[f"{prefix}self_attn.qkv_proj.weight"].split(rows),
        tensors[f"{prefix}mlp.gate_up_proj.weight"].chunk(2),
    )
    maps = {
        f"{prefix}{name}.weight": part
        for some, parts in zip(names, fused, strict=True)
        for name, part in zip(some, parts, strict=True)
    }
    for name in ("self_attn.o_proj", "mlp.down_proj"):
        maps[f"{prefix}{name}.weight"] = tensors[f"{prefix}{name}.weight"]
    return maps
