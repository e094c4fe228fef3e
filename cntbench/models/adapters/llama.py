"""Llama's family: Llama, Mistral, Qwen2, Qwen3, SmolLM, Gemma 1, OLMo 1; rotary positions, SwiGLU.

Several heads may share keys and values; layers may have a sliding window; the residual is
sequential. Qwen3 normalises queries and keys, head by head; some layers of SmolLM3 have no position
embedding. Norms are RMSNorms; those of Gemma 1 multiply by 1 + their weight, and OLMo 1 has
LayerNorms without parameters. Equations follow the model of each type in the transformers library;
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
from cntbench.models.adapters._base import Shape, within
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import LayerNorm, RMSNorm
from cntbench.models.rotary import ROTARY_BUFFERS, Rotary

if TYPE_CHECKING:
    from transformers import GemmaConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
    from transformers.models.olmo import OlmoConfig
    from transformers.models.smollm3 import SmolLM3Config

    Config: TypeAlias = (
        GemmaConfig
        | LlamaConfig
        | MistralConfig
        | OlmoConfig
        | Qwen2Config
        | Qwen3Config
        | SmolLM3Config
    )

#: ``llama`` includes SmolLM, SmolLM2, TinyLlama, Yi and others.
MODEL_TYPES = ("gemma", "llama", "mistral", "olmo", "qwen2", "qwen3", "smollm3")
EXACT = (
    "heads that share keys, sliding windows, scaled rotary positions, Qwen3's QK-norm, SmolLM3's "
    "layers without positions, OLMo 1's norms without parameters"
)
BUFFERS = ROTARY_BUFFERS
#: OLMo 1's, which its config does not give.
_EPSILON = 1e-5


def shape(config: Config) -> Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    is_turned = config.no_rope_layers if config.model_type == "smollm3" else None
    if is_turned is not None and len(is_turned) < config.num_hidden_layers:
        raise CheckpointError(
            f"no_rope_layers has {len(is_turned)} entries for {config.num_hidden_layers} layers",
            hint="Allowed: 1 for each layer with rotary positions, 0 for each without.",
        )
    return layers.sizes(config, without=True)


def decoder(config: Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a ``state_dict`` of the family to stages."""
    size, width = shape(config), layers.width_of(config)
    is_olmo, embedding = config.model_type == "olmo", tensors["model.embed_tokens.weight"]
    norm = LayerNorm(_EPSILON) if is_olmo else RMSNorm(config.rms_norm_eps)
    rotary = Rotary(config, width, width, embedding)
    bias = _biased(config)
    stages: list[Stage] = []
    for layer, window in enumerate(layers.windows(config)):
        prefix = f"model.layers.{layer}."
        scale = _scale(config, tensors, f"{prefix}input_layernorm")
        biases = bias["input"], bias["output"]
        heads = layers.attention(config, tensors, prefix, rotary, scale=scale, biases=biases)
        if config.model_type == "qwen3":
            query, key = (tensors[f"{prefix}self_attn.{kind}_norm.weight"] for kind in ("q", "k"))
            heads = layers.with_input_norms(heads, rotary, query, key, config.rms_norm_eps)
        if config.model_type == "smollm3" and not config.no_rope_layers[layer]:
            heads = replace(heads, rotate=None)
        scale = _scale(config, tensors, f"{prefix}post_attention_layernorm")
        mlp = layers.gated_mlp(config, tensors, prefix, scale=scale, bias=bias["mlp"])
        stages += [Stage(norm, (within(heads, window),)), Stage(norm, (mlp,))]
    final_norm = replace(norm, scale=_scale(config, tensors, "model.norm"))
    model = layers.assembled(config, tensors, size, stages, final_norm)
    if config.model_type != "gemma":
        return model
    factor = config.hidden_size**0.5
    return replace(model, embed=partial(layers.embedded, weight=embedding, scale=factor))


def _scale(config: Config, tensors: Mapping[str, Tensor], norm: str) -> Tensor | None:
    """Return what a norm multiplies by, or None if it has no parameters."""
    if config.model_type == "olmo":
        return None
    weight = tensors[f"{norm}.weight"]
    return 1 + weight if config.model_type == "gemma" else weight


def _biased(config: Config) -> dict[str, bool]:
    """Return which maps have biases."""
    of_heads = config.model_type not in ("mistral", "qwen2") and config.attention_bias
    return {
        "input": of_heads or config.model_type == "qwen2",
        "output": of_heads,
        "mlp": config.model_type in ("llama", "smollm3") and config.mlp_bias,
    }
