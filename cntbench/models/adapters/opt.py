"""OPT: learned positions with an offset of 2, ReLU, sequential residual.

Equations follow ``OPTForCausalLM`` of the transformers library; the tests compare with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.models.adapters import _base as base
from cntbench.models.adapters._layer_norm_layers import attention, folded, with_positions
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import LayerNorm

if TYPE_CHECKING:
    from transformers import OPTConfig

MODEL_TYPES = ("opt",)
EXACT = "learned positions from the third on, ReLU, models with and without biases"
#: The first position's row of the table.
OFFSET = 2
EPSILON = 1e-5
#: Options that make other equations, and the value that is supported.
OPTIONS = {
    "do_layer_norm_before": True,
    "_remove_final_layer_norm": False,
    "layer_norm_elementwise_affine": True,
}


def shape(config: OPTConfig) -> base.Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    base.check_common(config, config.activation_function)
    for option, allowed in OPTIONS.items():
        if getattr(config, option) != allowed:
            raise CheckpointError(
                f"{option} = {str(not allowed).lower()} is not supported",
                hint=f"Allowed: {str(allowed).lower()}, as in all OPT models but opt-350m.",
            )
    if config.word_embed_proj_dim != config.hidden_size:
        raise CheckpointError(
            "embeddings that are projected to the stream are not supported",
            hint="Allowed: word_embed_proj_dim = hidden_size, as in all OPT models but opt-350m.",
        )
    return base.shape_from(config, mlps=config.ffn_dim != 0)


def decoder(config: OPTConfig, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map an OPT ``state_dict`` to stages."""
    size, root, bias = shape(config), "model.decoder.", config.enable_bias
    words, positions = (tensors[f"{root}embed_{kind}.weight"] for kind in ("tokens", "positions"))
    norm, stages = LayerNorm(EPSILON), list[Stage]()
    for layer in range(config.num_hidden_layers):
        prefix = f"{root}layers.{layer}."
        names = f"{prefix}self_attn.", f"{prefix}self_attn_layer_norm"
        heads = attention(tensors, *names, config.num_attention_heads, biases=(bias, bias))
        mlp = MLP(
            folded(tensors, f"{prefix}fc1", f"{prefix}final_layer_norm", bias=bias),
            base.linear(tensors, f"{prefix}fc2", bias=bias),
            base.ACTIVATIONS[config.activation_function],
        )
        stages += [Stage(norm, (heads,)), Stage(norm, (mlp,))]
    return Decoder(
        embed=partial(with_positions, words=words, positions=positions[OFFSET:]),
        stages=base.without_empty_mlps(stages),
        final_norm=base.layer_norm(tensors, f"{root}final_layer_norm", EPSILON),
        unembed=base.unembedding(tensors, "lm_head", embedding=words, config=config),
        components=size.components,
        context=size.context,
    )
