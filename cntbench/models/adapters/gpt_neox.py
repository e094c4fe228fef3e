"""GPT-NeoX: Pythia and its family; rotary positions, parallel (or sequential) residual.

Equations follow ``GPTNeoXForCausalLM`` of the transformers library; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from cntbench.models.adapters import _base as base
from cntbench.models.adapters._layer_norm_layers import folded
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import LayerNorm, Linear
from cntbench.models.rotary import ROTARY_BUFFERS, Rotary, check_rotary

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig

MODEL_TYPES = ("gpt_neox",)
EXACT = "parallel or sequential blocks, rotary positions on a part of each head"
BUFFERS = ("attention.bias", "attention.masked_bias", *ROTARY_BUFFERS)
RENAMED = {"embed_out": "lm_head"}
#: Names of the unembedding on disk and in memory.
UNEMBEDDING = ("embed_out", "lm_head")


def shape(config: GPTNeoXConfig) -> base.Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    base.check_common(config, config.hidden_act)
    check_rotary(config)
    mlps = config.intermediate_size > 0
    return base.shape_from(config, parallel=config.use_parallel_residual, mlps=mlps)


def decoder(config: GPTNeoXConfig, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a GPT-NeoX ``state_dict`` to stages."""
    size = shape(config)
    embedding = tensors["gpt_neox.embed_in.weight"]
    norm = LayerNorm(config.layer_norm_eps)
    width = config.hidden_size // config.num_attention_heads
    rotated = int(width * config.rope_parameters["partial_rotary_factor"])
    rotary = Rotary(config, width, rotated, embedding)
    stages: list[Stage] = []
    for layer in range(config.num_hidden_layers):
        prefix = f"gpt_neox.layers.{layer}."
        attention = _attention(config, tensors, prefix, rotary)
        mlp = MLP(
            folded(tensors, f"{prefix}mlp.dense_h_to_4h", f"{prefix}post_attention_layernorm"),
            base.linear(tensors, f"{prefix}mlp.dense_4h_to_h"),
            base.ACTIVATIONS[config.hidden_act],
        )
        if config.use_parallel_residual:
            stages.append(Stage(norm, (attention, mlp)))
        else:
            stages += [Stage(norm, (attention,)), Stage(norm, (mlp,))]
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=base.without_empty_mlps(stages),
        final_norm=base.layer_norm(tensors, "gpt_neox.final_layer_norm", config.layer_norm_eps),
        unembed=base.unembedding(tensors, *UNEMBEDDING, embedding=embedding, config=config),
        components=size.components,
        context=size.context,
    )


def _attention(
    config: GPTNeoXConfig, tensors: Mapping[str, Tensor], prefix: str, rotary: Rotary
) -> Attention:
    heads, bias = config.num_attention_heads, config.attention_bias
    norm = f"{prefix}input_layernorm"
    fused = folded(tensors, f"{prefix}attention.query_key_value", norm, bias=bias)

    def by_kind(rows: Tensor) -> Tensor:
        # The checkpoint stores query, key and value of head 0, then of head 1, …
        query, key, value = rows.unflatten(0, (heads, 3, -1)).unbind(1)
        return rotary.arranged(query, key, value)

    dense = base.linear(tensors, f"{prefix}attention.dense", bias=bias)
    return Attention.make(
        Linear(by_kind(fused.weight), by_kind(fused.bias)),
        output=dense.weight.mT.unflatten(0, (heads, -1)).contiguous(),
        output_bias=dense.bias,
        rotate=rotary,
    )
