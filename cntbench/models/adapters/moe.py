"""OLMoE and Qwen3-MoE: a mixture of experts in place of the MLP.

OLMoE normalises queries and keys over all heads, Qwen3-MoE head by head; some layers of the latter
may have an MLP. Equations follow ``OlmoeForCausalLM`` and ``Qwen3MoeForCausalLM`` of the
transformers library; the tests compare with them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from cntbench.errors import CheckpointError
from cntbench.models.adapters import _rotary_layers as layers
from cntbench.models.adapters._base import ACTIVATIONS, ROUTER, Shape, linear, within
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.experts import Experts
from cntbench.models.feed_forward import MLP
from cntbench.models.maps import Linear, RMSNorm
from cntbench.models.rotary import ROTARY_BUFFERS, Rotary

if TYPE_CHECKING:
    from transformers import OlmoeConfig, Qwen3MoeConfig

    Config: TypeAlias = OlmoeConfig | Qwen3MoeConfig

MODEL_TYPES = ("olmoe", "qwen3_moe")
BUFFERS = ROTARY_BUFFERS
EXACT = "experts as one component with their router, or one by one; QK-norm, sliding windows"
_NORMS = "input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"
_OF_EXPERT = re.compile(r"(.*\.experts)\.([0-9]+)\.(gate_proj|up_proj|down_proj)\.weight")


def shape(config: Config) -> Shape:
    """Return the model's sizes; raises a `CheckpointError` for options that are not supported."""
    if not 1 <= config.num_experts_per_tok <= config.num_experts:
        raise CheckpointError(
            f"{config.num_experts_per_tok} experts for each token of {config.num_experts}",
            hint="Allowed: num_experts_per_tok from 1 to num_experts.",
        )
    size, numbers = layers.sizes(config), range(config.num_hidden_layers)
    experts = tuple(config.num_experts * _is_sparse(config, layer) for layer in numbers)
    return replace(
        size,
        refused=(("relp", ROUTER), ("gim", ROUTER)),
        experts=experts,
        experts_per_token=config.num_experts_per_tok,
    )


def merged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint's tensors with those of single experts stacked, as transformers does."""
    experts: dict[str, dict[tuple[int, str], Tensor]] = {}
    stacked: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if match := _OF_EXPERT.fullmatch(name):
            experts.setdefault(match[1], {})[int(match[2]), match[3]] = tensor
        else:
            stacked[name] = tensor
    for name, of_layer in experts.items():
        numbers = range(len({number for number, _ in of_layer}))
        missing = [
            f"{name}.{number}.{kind}.weight"
            for number in numbers
            for kind in ("gate_proj", "up_proj", "down_proj")
            if (number, kind) not in of_layer
        ]
        if missing:
            raise CheckpointError(f"has no tensor {missing[0]!r}")
        gates_and_ups = [
            torch.cat([of_layer[i, "gate_proj"], of_layer[i, "up_proj"]]) for i in numbers
        ]
        stacked[f"{name}.gate_up_proj"] = torch.stack(gates_and_ups)
        stacked[f"{name}.down_proj"] = torch.stack([of_layer[i, "down_proj"] for i in numbers])
    return stacked


def decoder(config: Config, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a ``state_dict`` of the family to stages."""
    size, norm, width = shape(config), RMSNorm(config.rms_norm_eps), layers.width_of(config)
    rotary = Rotary(config, width, width, tensors["model.embed_tokens.weight"])
    biases = 2 * (config.attention_bias,)
    stages: list[Stage] = []
    for layer, window in enumerate(layers.windows(config)):
        prefix = f"model.layers.{layer}."
        before_heads, before_mlp, query, key = (
            tensors[f"{prefix}{name}.weight"] for name in _NORMS
        )
        heads = layers.attention(config, tensors, prefix, rotary, scale=before_heads, biases=biases)
        heads = layers.with_input_norms(heads, rotary, query, key, config.rms_norm_eps)
        block: Experts | MLP
        if _is_sparse(config, layer):
            block = _experts(config, tensors, f"{prefix}mlp.", before_mlp)
        else:
            block = layers.gated_mlp(config, tensors, prefix, scale=before_mlp)
        stages += [Stage(norm, (within(heads, window),)), Stage(norm, (block,))]
    return layers.assembled(config, tensors, size, stages)


def _is_sparse(config: Config, layer: int) -> bool:
    """Return whether a layer has experts."""
    if config.model_type == "olmoe":
        return True
    return layer not in config.mlp_only_layers and (layer + 1) % config.decoder_sparse_step == 0


def _experts(config: Config, tensors: Mapping[str, Tensor], prefix: str, scale: Tensor) -> Experts:
    activation = ACTIVATIONS[config.hidden_act]
    up_and_gate = tensors[f"{prefix}experts.gate_up_proj"]

    def plain(weight: Tensor) -> Linear:
        return Linear(weight, weight.new_zeros(len(weight)))

    experts = []
    for gate_and_up, down in zip(up_and_gate, tensors[f"{prefix}experts.down_proj"], strict=True):
        gate, up = (plain(part).after(scale) for part in gate_and_up.chunk(2))
        experts.append(MLP(up, plain(down), activation, gate=gate))
    return Experts(
        router=linear(tensors, f"{prefix}gate", bias=False).after(scale),
        experts=tuple(experts),
        top=config.num_experts_per_tok,
        normalised=config.norm_topk_prob,
    )
