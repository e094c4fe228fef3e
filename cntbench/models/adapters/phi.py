"""Phi-1, Phi-1.5 and Phi-2: attention and MLP in parallel, rotary positions on a part of each head.

Both read the stream through one LayerNorm; all maps have biases, the unembedding too. Equations
follow ``PhiForCausalLM`` of the transformers library; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.models.adapters import _base as base
from cntbench.models.adapters._layer_norm_layers import folded
from cntbench.models.adapters._rotary_layers import sizes, width_of
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import LayerNorm
from cntbench.models.rotary import ROTARY_BUFFERS, Rotary

if TYPE_CHECKING:
    from transformers import PhiConfig

MODEL_TYPES = ("phi",)
BUFFERS = ROTARY_BUFFERS
EXACT = "parallel blocks after one norm, heads that share keys, rotary positions on a part of heads"


def shape(config: PhiConfig) -> base.Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    if config.qk_layernorm:
        raise CheckpointError(
            "LayerNorms of queries and keys are not supported",
            hint="Allowed: qk_layernorm = false, as in all published models.",
        )
    return sizes(config, partial=True, parallel=True)


def decoder(config: PhiConfig, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a Phi ``state_dict`` to stages."""
    size, epsilon, width = shape(config), config.layer_norm_eps, width_of(config)
    embedding, norm = tensors["model.embed_tokens.weight"], LayerNorm(epsilon)
    rotated = int(width * config.rope_parameters["partial_rotary_factor"])
    rotary = Rotary(config, width, rotated, embedding)
    stages: list[Stage] = []
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        before, output = f"{prefix}input_layernorm", f"{prefix}self_attn.dense"
        maps = [folded(tensors, f"{prefix}self_attn.{kind}_proj", before) for kind in "qkv"]
        heads = base.joined_heads(
            maps, base.linear(tensors, output), width, rotary, config.num_key_value_heads
        )
        mlp = MLP(
            folded(tensors, f"{prefix}mlp.fc1", before),
            base.linear(tensors, f"{prefix}mlp.fc2"),
            base.ACTIVATIONS[config.hidden_act],
        )
        stages.append(Stage(norm, (heads, mlp)))
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=tuple(stages),
        final_norm=base.layer_norm(tensors, "model.final_layernorm", epsilon),
        unembed=base.unembedding(tensors, "lm_head", embedding=embedding, config=config),
        components=size.components,
        context=size.context,
    )
