"""OLMo 2 and OLMo 3: norms behind the sublayers, QK-norm over all heads, rotary positions, SwiGLU.

Blocks read the stream itself. OLMo 3 also has layers with a sliding window, whose rotary positions
may differ. Equations follow ``Olmo2ForCausalLM`` and ``Olmo3ForCausalLM`` of the transformers
library; the tests compare with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from cntbench.models.adapters._base import Shape, unembedding
from cntbench.models.adapters._rotary_layers import (
    attention,
    gated_mlp,
    rotaries,
    sizes_with_norms_behind,
    windows,
    with_input_norms,
    within,
)
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import RMSNorm, Unnormed
from cntbench.models.rotary import ROTARY_BUFFERS

if TYPE_CHECKING:
    from transformers import Olmo2Config, Olmo3Config

    Config: TypeAlias = Olmo2Config | Olmo3Config

MODEL_TYPES = ("olmo2", "olmo3")
#: Buffers that older programs saved with the weights; no model uses them.
BUFFERS = ROTARY_BUFFERS
EXACT = "norms behind sublayers, QK-norm over all heads, sliding windows, rotary positions by layer"


def shape(config: Config) -> Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    return sizes_with_norms_behind(config)


def decoder(config: Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a ``state_dict`` of the family to stages."""
    size = shape(config)
    embedding, epsilon = tensors["model.embed_tokens.weight"], config.rms_norm_eps
    stages: list[Stage] = []
    layers = zip(rotaries(config, embedding), windows(config), strict=True)
    for layer, (rotary, window) in enumerate(layers):
        prefix = f"model.layers.{layer}."
        query, key, after_heads, after_mlp = (
            tensors[f"{prefix}{name}.weight"]
            for name in (
                "self_attn.q_norm",
                "self_attn.k_norm",
                "post_attention_layernorm",
                "post_feedforward_layernorm",
            )
        )
        heads = within(attention(config, tensors, prefix, rotary), window)
        heads = with_input_norms(heads, rotary, query, key, epsilon)
        heads = heads.before(RMSNorm(epsilon, after_heads))
        mlp = replace(gated_mlp(config, tensors, prefix), after=RMSNorm(epsilon, after_mlp))
        stages += [Stage(Unnormed(), (heads,)), Stage(Unnormed(), (mlp,))]
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=tuple(stages),
        final_norm=RMSNorm(epsilon, tensors["model.norm.weight"]),
        unembed=unembedding(tensors, "lm_head", embedding=embedding, config=config),
        components=size.components,
        context=size.context,
    )
