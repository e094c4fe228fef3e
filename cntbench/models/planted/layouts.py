"""Architectures of planted circuits: their configs, and how they name and lay out the weights.

A circuit's arrays have the names of GPT-NeoX. In GPT-2, MLPs read the stream after the heads of
their layer, and learned positions are zero here. Llama has RMSNorm and gated MLPs, whose hidden
units are relu(gate) · up; if a circuit has no gate, up is 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cntbench.models.planted.spec import CircuitSpec
from cntbench.models.planted.wiring import FREQUENCIES, ROTARY_BASE, Array

if TYPE_CHECKING:
    from transformers import PretrainedConfig

#: Number of a head's coordinates that GPT-NeoX rotates.
ROTATED = 2 * len(FREQUENCIES)


@dataclass(frozen=True)
class WeightLayout:
    """An architecture: its config, its arrays, and whether heads and MLP read the same stream.

    ``config`` takes the spec, the hidden units of an MLP, and the epsilon of the norms; ``arrays``
    renames and rearranges all arrays.
    """

    parallel: bool
    config: Callable[[CircuitSpec, int, float], PretrainedConfig]
    arrays: Callable[[CircuitSpec, Mapping[str, Array]], dict[str, Array]]


#: Keys that all configs share.
_COMMON: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "dtype": "float32"}


def _rotary_keys(spec: CircuitSpec, units: int) -> dict[str, Any]:
    """Return the keys that the configs of GPT-NeoX and Llama share."""
    return {
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": units,
        "hidden_act": "relu",
        "max_position_embeddings": spec.context,
        **_COMMON,
    }


def _gpt_neox_config(spec: CircuitSpec, units: int, epsilon: float) -> PretrainedConfig:
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(
        architectures=["GPTNeoXForCausalLM"],
        layer_norm_eps=epsilon,
        use_parallel_residual=True,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": ROTARY_BASE,
            "partial_rotary_factor": ROTATED / (spec.width // spec.heads),
        },
        **_rotary_keys(spec, units),
    )


def _gpt2_config(spec: CircuitSpec, units: int, epsilon: float) -> PretrainedConfig:
    from transformers import GPT2Config

    return GPT2Config(
        architectures=["GPT2LMHeadModel"],
        vocab_size=spec.vocabulary,
        n_positions=spec.context,
        n_embd=spec.width,
        n_layer=spec.layers,
        n_head=spec.heads,
        n_inner=units,
        activation_function="relu",
        layer_norm_epsilon=epsilon,
        tie_word_embeddings=False,
        **_COMMON,
    )


def _llama_config(spec: CircuitSpec, units: int, epsilon: float) -> PretrainedConfig:
    from transformers import LlamaConfig

    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        num_key_value_heads=spec.heads,
        rms_norm_eps=epsilon,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE},
        **_rotary_keys(spec, units),
    )


def _gpt2_arrays(spec: CircuitSpec, arrays: Mapping[str, Array]) -> dict[str, Array]:
    named = {"transformer.wpe.weight": np.zeros((spec.context, spec.width))}
    for name, array in arrays.items():
        if "query_key_value" in name:
            array = np.concatenate(_by_kind(spec, array))
        renamed = _renamed(name, _GPT2)
        # Maps between streams are ``Conv1D``, whose weights have dims ``input, output``.
        conv = renamed.endswith(".weight") and ".c_" in renamed
        named[renamed] = array.T if conv else array
    return named


def _llama_arrays(spec: CircuitSpec, arrays: Mapping[str, Array]) -> dict[str, Array]:
    named = {}
    for name, array in arrays.items():
        if "query_key_value" in name:
            for kind, rows in zip("qkv", _by_kind(spec, array), strict=True):
                named[_renamed(name, _LLAMA).replace("qkv", kind)] = rows
        elif "norm" not in name or not name.endswith(".bias"):  # RMSNorm has no shift
            named[_renamed(name, _LLAMA)] = array
        if name.endswith("dense_h_to_4h.bias"):
            prefix = _renamed(name, _LLAMA).removesuffix("gate_proj.bias")
            named.setdefault(f"{prefix}up_proj.weight", np.zeros((len(array), spec.width)))
            named.setdefault(f"{prefix}up_proj.bias", np.ones(len(array)))
    return named


def _by_kind(spec: CircuitSpec, rows: Array) -> list[Array]:
    """Regroup rows that are ordered by head into those of all queries, keys and values."""
    by_head = rows.reshape(spec.heads, 3, -1, *rows.shape[1:])
    return [by_head[:, kind].reshape(-1, *rows.shape[1:]) for kind in range(3)]


def _renamed(name: str, words: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, words)), lambda match: words[match[0]], name)


_GPT2 = {
    "gpt_neox.embed_in": "transformer.wte",
    "gpt_neox.layers": "transformer.h",
    "gpt_neox.final_layer_norm": "transformer.ln_f",
    "input_layernorm": "ln_1",
    "post_attention_layernorm": "ln_2",
    "attention.query_key_value": "attn.c_attn",
    "attention.dense": "attn.c_proj",
    "mlp.dense_h_to_4h": "mlp.c_fc",
    "mlp.dense_4h_to_h": "mlp.c_proj",
    "embed_out": "lm_head",
}
_LLAMA = {
    "gpt_neox.embed_in": "model.embed_tokens",
    "gpt_neox.final_layer_norm": "model.norm",
    "gpt_neox": "model",
    "attention.query_key_value": "self_attn.qkv_proj",
    "attention.dense": "self_attn.o_proj",
    "mlp.dense_h_to_4h": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.dense_4h_to_h": "mlp.down_proj",
    "embed_out": "lm_head",
}

#: Layouts by the ``model_type`` of their configs.
LAYOUTS: dict[str, WeightLayout] = {
    "gpt_neox": WeightLayout(True, _gpt_neox_config, lambda spec, arrays: dict(arrays)),
    "gpt2": WeightLayout(False, _gpt2_config, _gpt2_arrays),
    "llama": WeightLayout(False, _llama_config, _llama_arrays),
}
