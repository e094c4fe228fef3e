"""OLMo 2 and OLMo 3: norms after the sublayers, QK-norm over all heads, rotary positions, SwiGLU.

Blocks read the stream itself. OLMo 3 also has layers with a sliding window, whose rotary positions
may differ. Equations follow ``Olmo2ForCausalLM`` and ``Olmo3ForCausalLM`` of the transformers
library; the tests compare with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from cntbench.models.adapters import _rotary_layers as layers
from cntbench.models.adapters._base import Shape, within
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import RMSNorm, Unnormed
from cntbench.models.rotary import ROTARY_BUFFERS

if TYPE_CHECKING:
    from transformers import Olmo2Config, Olmo3Config

    Config: TypeAlias = Olmo2Config | Olmo3Config

MODEL_TYPES = ("olmo2", "olmo3")
BUFFERS = ROTARY_BUFFERS
_NORMS = (
    "self_attn.q_norm",
    "self_attn.k_norm",
    "post_attention_layernorm",
    "post_feedforward_layernorm",
)
EXACT = "norms after sublayers, QK-norm over all heads, sliding windows, rotary positions by layer"


def shape(config: Config) -> Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    return layers.sizes_with_output_norms(config)


def decoder(config: Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a ``state_dict`` of the family to stages."""
    size, epsilon, stages = shape(config), config.rms_norm_eps, list[Stage]()
    rotary_of_layers = layers.rotaries(config, tensors["model.embed_tokens.weight"])
    attending = zip(rotary_of_layers, layers.windows(config), strict=True)
    for layer, (rotary, window) in enumerate(attending):
        prefix = f"model.layers.{layer}."
        query, key, after_heads, after_mlp = (tensors[f"{prefix}{name}.weight"] for name in _NORMS)
        heads = within(layers.attention(config, tensors, prefix, rotary), window)
        heads = layers.with_input_norms(heads, rotary, query, key, epsilon)
        heads = heads.before(RMSNorm(epsilon, after_heads))
        mlp = replace(layers.gated_mlp(config, tensors, prefix), after=RMSNorm(epsilon, after_mlp))
        stages += [Stage(Unnormed(), (heads,)), Stage(Unnormed(), (mlp,))]
    return layers.assembled(config, tensors, size, stages)
