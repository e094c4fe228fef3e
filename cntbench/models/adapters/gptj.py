"""GPT-J: rotary positions on a part of each head, by neighbouring dims; one norm, in parallel.

Equations follow ``GPTJForCausalLM`` of the transformers library; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.models.adapters import _base as base
from cntbench.models.adapters._layer_norm_layers import attention, folded
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import LayerNorm
from cntbench.models.rotary import InterleavedRotary

if TYPE_CHECKING:
    from transformers import GPTJConfig

MODEL_TYPES = ("gptj",)
BUFFERS = ("attn.bias", "attn.masked_bias", "attn.embed_positions")
EXACT = "parallel blocks after one norm, rotary positions on neighbouring dims of a part of heads"


def shape(config: GPTJConfig) -> base.Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    base.check_common(config, config.activation_function)
    base.check_mlps(config.n_inner)
    width, rotated = config.n_embd // config.n_head, config.rotary_dim
    if not rotated or rotated % 2 or rotated > width:
        raise CheckpointError(
            f"rotary_dim = {rotated} does not fit into heads of {width} dims",
            hint="Allowed: an even number up to n_embd / n_head.",
        )
    return base.shape_from(config, parallel=True)


def decoder(config: GPTJConfig, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a GPT-J ``state_dict`` to stages."""
    size = shape(config)
    embedding, norm = tensors["transformer.wte.weight"], LayerNorm(config.layer_norm_epsilon)
    angles = SimpleNamespace(
        rope_parameters={"rope_type": "default", "rope_theta": 10_000},
        max_position_embeddings=config.n_positions,
    )
    width = config.n_embd // config.n_head
    rotary = InterleavedRotary(angles, width, config.rotary_dim, embedding)
    stages: list[Stage] = []
    for layer in range(config.n_layer):
        prefix = f"transformer.h.{layer}."
        names = f"{prefix}attn.", f"{prefix}ln_1"
        heads = attention(tensors, *names, config.n_head, biases=(False, False), rotary=rotary)
        mlp = MLP(
            folded(tensors, f"{prefix}mlp.fc_in", f"{prefix}ln_1"),
            base.linear(tensors, f"{prefix}mlp.fc_out"),
            base.ACTIVATIONS[config.activation_function],
        )
        stages.append(Stage(norm, (heads, mlp)))
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=tuple(stages),
        final_norm=base.layer_norm(tensors, "transformer.ln_f", config.layer_norm_epsilon),
        unembed=base.unembedding(tensors, "lm_head", embedding=embedding, config=config),
        components=size.components,
        context=size.context,
    )
