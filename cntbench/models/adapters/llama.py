"""The Llama family: Llama, Mistral, Qwen2, SmolLM2; RMSNorm, rotary positions, SwiGLU.

Several heads may share keys and values; the residual is sequential. Equations follow
``LlamaForCausalLM``, ``MistralForCausalLM`` and ``Qwen2ForCausalLM`` of the transformers library;
the tests compare with them. A sliding window does not change the equations for prompts that fit
into it, so it only limits the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from cntbench.components import components
from cntbench.errors import CheckpointError
from cntbench.models.adapters._base import ACTIVATIONS, Shape, check_common, linear, unembedding
from cntbench.models.blocks import MLP, Attention
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.maps import Linear, RMSNorm
from cntbench.models.rotary import ROTARY_BUFFERS, Rotary, check_rotary

if TYPE_CHECKING:
    from transformers import LlamaConfig, MistralConfig, Qwen2Config

    Config: TypeAlias = LlamaConfig | MistralConfig | Qwen2Config

#: ``llama`` includes SmolLM, SmolLM2, TinyLlama, Yi and others.
MODEL_TYPES = ("llama", "mistral", "qwen2")
#: Buffers that older programs saved with the weights; no model uses them.
BUFFERS = ROTARY_BUFFERS


def shape(config: Config) -> Shape:
    """Return the model's sizes.

    Raises
    ------
    CheckpointError
        If the config has an option that this adapter does not support.
    """
    check_common(config, config.hidden_act)
    check_rotary(config)
    heads, key_heads, width = config.num_attention_heads, config.num_key_value_heads, _width(config)
    if heads % key_heads:
        raise CheckpointError(
            f"{heads} heads cannot share {key_heads} keys and values",
            hint="Allowed: num_attention_heads a multiple of num_key_value_heads.",
        )
    if width % 2 or config.rope_parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError(
            f"rotary positions on only some of a head's {width} dims are not supported",
            hint="Allowed: an even head_dim, without partial_rotary_factor.",
        )
    return Shape(
        components=components(config.num_hidden_layers, heads, parallel=False),
        vocabulary=config.vocab_size,
        context=min([config.max_position_embeddings, *_windows(config)]),
    )


def decoder(config: Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a ``state_dict`` of the family to stages."""
    size = shape(config)
    embedding = tensors["model.embed_tokens.weight"]
    norm = RMSNorm(config.rms_norm_eps)
    width = _width(config)
    rotary = Rotary(config, width, width, embedding)
    bias = _biased(config)
    stages: list[Stage] = []
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        scale = tensors[f"{prefix}post_attention_layernorm.weight"]
        mlp = MLP(
            linear(tensors, f"{prefix}mlp.up_proj", bias=bias["mlp"]).after(scale),
            linear(tensors, f"{prefix}mlp.down_proj", bias=bias["mlp"]),
            ACTIVATIONS[config.hidden_act],
            gate=linear(tensors, f"{prefix}mlp.gate_proj", bias=bias["mlp"]).after(scale),
        )
        attention = _attention(config, tensors, prefix, rotary)
        stages += [Stage(norm, (attention,)), Stage(norm, (mlp,))]
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=tuple(stages),
        final_norm=RMSNorm(config.rms_norm_eps, tensors["model.norm.weight"]),
        unembed=unembedding(tensors, "lm_head", embedding=embedding, config=config),
        components=size.components,
        context=size.context,
    )


def _width(config: Config) -> int:
    width: int | None = getattr(config, "head_dim", None)
    return width or config.hidden_size // config.num_attention_heads


def _windows(config: Config) -> list[int]:
    """Return the length of the sliding window, if a layer has one."""
    if config.model_type == "mistral":
        return [] if config.sliding_window is None else [config.sliding_window]
    if config.model_type == "qwen2" and "sliding_attention" in config.layer_types:
        if config.sliding_window is None:
            raise CheckpointError(
                "some layers have a sliding window, but the config does not give its length",
                hint="Allowed: sliding_window with use_sliding_window = true, or full_attention.",
            )
        return [config.sliding_window]
    return []


def _biased(config: Config) -> dict[str, bool]:
    """Return which maps have biases."""
    if config.model_type == "llama":
        return {
            "input": config.attention_bias,
            "output": config.attention_bias,
            "mlp": config.mlp_bias,
        }
    return {"input": config.model_type == "qwen2", "output": False, "mlp": False}


def _attention(
    config: Config, tensors: Mapping[str, Tensor], prefix: str, rotary: Rotary
) -> Attention:
    bias = _biased(config)
    scale = tensors[f"{prefix}input_layernorm.weight"]
    maps = [
        linear(tensors, f"{prefix}self_attn.{kind}_proj", bias=bias["input"]).after(scale)
        for kind in ("q", "k", "v")
    ]
    weights = [m.weight.unflatten(0, (-1, rotary.width)) for m in maps]
    biases = [m.bias.unflatten(0, (-1, rotary.width)) for m in maps]
    output = linear(tensors, f"{prefix}self_attn.o_proj", bias=bias["output"])
    return Attention.make(
        Linear(rotary.arranged(*weights), rotary.arranged(*biases)),
        output=output.weight.mT.unflatten(0, (-1, rotary.width)).contiguous(),
        output_bias=output.bias,
        key_heads=config.num_key_value_heads,
        rotate=rotary,
    )
