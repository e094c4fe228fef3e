"""Gemma 2 and Gemma 3 (text): norms before and after sublayers, soft caps, sliding windows.

Norms multiply by 1 + their weight. Gemma 2 caps attention scores and logits; Gemma 3 normalises
queries and keys instead, head by head, and its layers with a window have rotary positions of their
own. Equations follow ``Gemma2ForCausalLM`` and ``Gemma3ForCausalLM`` of the transformers library;
the tests compare with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.models.adapters import _rotary_layers as layers
from cntbench.models.adapters._base import Shape, scaled_queries, within
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import CappedLinear, RMSNorm
from cntbench.models.rotary import ROTARY_BUFFERS

if TYPE_CHECKING:
    from transformers import Gemma2Config, Gemma3TextConfig

    Config: TypeAlias = Gemma2Config | Gemma3TextConfig

MODEL_TYPES = ("gemma2", "gemma3_text")
BUFFERS = ROTARY_BUFFERS
EXACT = "norms before and after sublayers, soft caps, QK-norm, alternating sliding windows"


def shape(config: Config) -> Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    size = layers.sizes_with_output_norms(config)
    caps = [config.final_logit_softcapping]
    caps += [config.attn_logit_softcapping] if config.model_type == "gemma2" else []
    if any(cap is not None and not cap > 0 for cap in (*caps, config.query_pre_attn_scalar)):
        raise CheckpointError(
            "a soft cap or query_pre_attn_scalar is not above 0",
            hint="Allowed: numbers above 0; for caps also null.",
        )
    return size


def decoder(config: Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a ``state_dict`` of the family to stages."""
    size = shape(config)
    embedding, epsilon = tensors["model.embed_tokens.weight"], config.rms_norm_eps
    norm, stages = RMSNorm(epsilon), list[Stage]()
    factor = (layers.width_of(config) / config.query_pre_attn_scalar) ** 0.5
    # Gemma 3 has the key, and transformers does not use it.
    cap = config.attn_logit_softcapping if config.model_type == "gemma2" else None
    attending = zip(layers.rotaries(config, embedding), layers.windows(config), strict=True)
    for layer, (rotary, window) in enumerate(attending):
        prefix = f"model.layers.{layer}."

        def scale(name: str, prefix: str = prefix) -> Tensor:
            return 1 + tensors[f"{prefix}{name}.weight"]

        heads = layers.attention(config, tensors, prefix, rotary, scale=scale("input_layernorm"))
        if config.model_type == "gemma3_text":
            query, key = scale("self_attn.q_norm"), scale("self_attn.k_norm")
            heads = layers.with_input_norms(heads, rotary, query, key, epsilon)
        heads = within(scaled_queries(heads, factor), window, cap)
        heads = heads.before(RMSNorm(epsilon, scale("post_attention_layernorm")))
        mlp = layers.gated_mlp(config, tensors, prefix, scale=scale("pre_feedforward_layernorm"))
        mlp = replace(mlp, after=RMSNorm(epsilon, scale("post_feedforward_layernorm")))
        stages += [Stage(norm, (heads,)), Stage(norm, (mlp,))]
    final_norm = RMSNorm(epsilon, 1 + tensors["model.norm.weight"])
    model = layers.assembled(config, tensors, size, stages, final_norm)
    unembed = model.unembed
    if config.final_logit_softcapping is not None:
        unembed = CappedLinear(unembed.weight, unembed.bias, config.final_logit_softcapping)
    return replace(
        model,
        embed=partial(layers.embedded, weight=embedding, scale=config.hidden_size**0.5),
        unembed=unembed,
    )
