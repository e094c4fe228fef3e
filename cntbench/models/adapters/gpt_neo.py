"""GPT-Neo: learned positions, attention scores that are not scaled, layers with a local window.

Equations follow ``GPTNeoForCausalLM`` of the transformers library; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from cntbench.errors import CheckpointError, nearest
from cntbench.models.adapters import _base as base
from cntbench.models.adapters._layer_norm_layers import attention, folded, with_positions
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import LayerNorm

if TYPE_CHECKING:
    from transformers import GPTNeoConfig

MODEL_TYPES = ("gpt_neo",)
BUFFERS = ("attn.attention.bias", "attn.attention.masked_bias")
EXACT = "learned positions, scores that are not scaled, local windows"
KINDS = ("global", "local")


def shape(config: GPTNeoConfig) -> base.Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    base.check_common(config, config.activation_function)
    for kind in config.attention_layers:
        if kind not in KINDS:
            raise CheckpointError(
                f"attention of type {kind!r} is not supported", hint=nearest(kind, KINDS)
            )
    return base.shape_from(config, mlps=config.intermediate_size != 0)


def decoder(config: GPTNeoConfig, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a GPT-Neo ``state_dict`` to stages."""
    size, norm = shape(config), LayerNorm(config.layer_norm_epsilon)
    words, positions = (tensors[f"transformer.{kind}.weight"] for kind in ("wte", "wpe"))
    # Blocks divide scores by the root of the width; the factor goes into the queries.
    factor = (config.hidden_size // config.num_heads) ** 0.5
    stages: list[Stage] = []
    for layer, kind in enumerate(config.attention_layers):
        prefix = f"transformer.h.{layer}."
        names = f"{prefix}attn.attention.", f"{prefix}ln_1"
        heads = attention(tensors, *names, config.num_heads, biases=(False, True))
        window = config.window_size if kind == "local" else None
        heads = base.within(base.scaled_queries(heads, factor), window)
        mlp = MLP(
            folded(tensors, f"{prefix}mlp.c_fc", f"{prefix}ln_2"),
            base.linear(tensors, f"{prefix}mlp.c_proj"),
            base.ACTIVATIONS[config.activation_function],
        )
        stages += [Stage(norm, (heads,)), Stage(norm, (mlp,))]
    return Decoder(
        embed=partial(with_positions, words=words, positions=positions),
        stages=base.without_empty_mlps(stages),
        final_norm=base.layer_norm(tensors, "transformer.ln_f", config.layer_norm_epsilon),
        unembed=base.unembedding(tensors, "lm_head", embedding=words, config=config),
        components=size.components,
        context=size.context,
    )
