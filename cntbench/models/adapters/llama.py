"""The Llama family: Llama, Mistral, Qwen2, Qwen3, SmolLM2; RMSNorm, rotary positions, SwiGLU.

Several heads may share keys and values; layers may have a sliding window; the residual is
sequential. Qwen3 normalises queries and keys, head by head. Equations follow ``LlamaForCausalLM``,
``MistralForCausalLM``, ``Qwen2ForCausalLM`` and ``Qwen3ForCausalLM`` of the transformers library;
the tests compare with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from cntbench.models.adapters import _rotary_layers as layers
from cntbench.models.adapters._base import Shape, within
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import RMSNorm
from cntbench.models.rotary import ROTARY_BUFFERS, Rotary

if TYPE_CHECKING:
    from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    Config: TypeAlias = LlamaConfig | MistralConfig | Qwen2Config | Qwen3Config

#: ``llama`` includes SmolLM, SmolLM2, TinyLlama, Yi and others.
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
EXACT = "heads that share keys, sliding windows, scaled rotary positions, Qwen3's QK-norm"
BUFFERS = ROTARY_BUFFERS


def shape(config: Config) -> Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    return layers.sizes(config, without=True)


def decoder(config: Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a ``state_dict`` of the family to stages."""
    size, norm, width = shape(config), RMSNorm(config.rms_norm_eps), layers.width_of(config)
    rotary = Rotary(config, width, width, tensors["model.embed_tokens.weight"])
    bias = _biased(config)
    stages: list[Stage] = []
    for layer, window in enumerate(layers.windows(config)):
        prefix = f"model.layers.{layer}."
        scale = tensors[f"{prefix}input_layernorm.weight"]
        biases = bias["input"], bias["output"]
        heads = layers.attention(config, tensors, prefix, rotary, scale=scale, biases=biases)
        if config.model_type == "qwen3":
            query, key = (tensors[f"{prefix}self_attn.{kind}_norm.weight"] for kind in ("q", "k"))
            heads = layers.with_input_norms(heads, rotary, query, key, config.rms_norm_eps)
        scale = tensors[f"{prefix}post_attention_layernorm.weight"]
        mlp = layers.gated_mlp(config, tensors, prefix, scale=scale, bias=bias["mlp"])
        stages += [Stage(norm, (within(heads, window),)), Stage(norm, (mlp,))]
    return layers.assembled(config, tensors, size, stages)


def _biased(config: Config) -> dict[str, bool]:
    """Return which maps have biases."""
    of_heads = config.model_type in ("llama", "qwen3") and config.attention_bias
    return {
        "input": of_heads or config.model_type == "qwen2",
        "output": of_heads,
        "mlp": config.model_type == "llama" and config.mlp_bias,
    }
