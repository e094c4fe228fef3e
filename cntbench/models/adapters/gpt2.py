"""GPT-2: learned positions, sequential residual.

Equations follow ``GPT2LMHeadModel`` of the transformers library; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.models.adapters import _base as base
from cntbench.models.adapters._layer_norm_layers import with_positions
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import LayerNorm, Linear

if TYPE_CHECKING:
    from transformers import GPT2Config

MODEL_TYPES = ("gpt2",)
EXACT = "learned positions, attention scores scaled by layer"
BUFFERS = ("attn.bias", "attn.masked_bias")


def shape(config: GPT2Config) -> base.Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    base.check_common(config, config.activation_function)
    base.check_mlps(config.n_inner)
    if config.add_cross_attention:
        raise CheckpointError(
            "cross-attention is not supported", hint="Allowed: add_cross_attention = false."
        )
    return base.shape_from(config)


def decoder(config: GPT2Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a GPT-2 ``state_dict`` to stages."""
    size = shape(config)
    words, positions = (tensors[f"transformer.{kind}.weight"] for kind in ("wte", "wpe"))
    norm = LayerNorm(config.layer_norm_epsilon)
    stages: list[Stage] = []
    for layer in range(config.n_layer):
        prefix = f"transformer.h.{layer}."
        mlp = MLP(
            _folded(tensors, f"{prefix}mlp.c_fc", f"{prefix}ln_2"),
            _linear(tensors, f"{prefix}mlp.c_proj"),
            base.ACTIVATIONS[config.activation_function],
        )
        attention = _attention(config, tensors, prefix, layer)
        stages += [Stage(norm, (attention,)), Stage(norm, (mlp,))]
    return Decoder(
        embed=partial(with_positions, words=words, positions=positions),
        stages=tuple(stages),
        final_norm=base.layer_norm(tensors, "transformer.ln_f", config.layer_norm_epsilon),
        unembed=base.unembedding(tensors, "lm_head", embedding=words, config=config),
        components=size.components,
        context=size.context,
    )


def _linear(tensors: Mapping[str, Tensor], name: str) -> Linear:
    """Return the affine map of a ``Conv1D``, whose weight has dims ``hidden, output``."""
    return Linear(tensors[f"{name}.weight"].mT.contiguous(), tensors[f"{name}.bias"])


def _folded(tensors: Mapping[str, Tensor], name: str, norm: str) -> Linear:
    """Return an affine map of the standardised stream, with a norm's scale and shift folded in."""
    return _linear(tensors, name).after(tensors[f"{norm}.weight"], tensors[f"{norm}.bias"])


def _attention(
    config: GPT2Config, tensors: Mapping[str, Tensor], prefix: str, layer: int
) -> Attention:
    width = config.n_embd // config.n_head
    # Blocks divide scores by √width; the remaining factor goes into the queries.
    scale = 1.0 if config.scale_attn_weights else width**0.5
    if config.scale_attn_by_inverse_layer_idx:
        scale /= layer + 1
    output = _linear(tensors, f"{prefix}attn.c_proj")
    heads = Attention.make(
        _folded(tensors, f"{prefix}attn.c_attn", f"{prefix}ln_1"),
        output=output.weight.mT.unflatten(0, (config.n_head, width)).contiguous(),
        output_bias=output.bias,
    )
    return base.scaled_queries(heads, scale)
