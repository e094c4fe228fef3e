"""Random models of families that share most of their code with others."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPTJConfig,
    GPTNeoConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoeConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.olmo import OlmoConfig
from transformers.models.smollm3 import SmolLM3Config

#: Layers with a window of 3 take turns with those that see everything.
_ALTERNATING = {"sliding_window": 3}
_YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "rope_theta": 100.0,
    "original_max_position_embeddings": 16,
}
_BY_LAYER = {
    "full_attention": _YARN,
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}

#: Config and options of each family.
FAMILIES: dict[str, tuple[type[PreTrainedConfig], dict[str, Any]]] = {
    "qwen3": (Qwen3Config, {}),
    "smollm3": (SmolLM3Config, {"no_rope_layer_interval": 2}),
    "olmo": (OlmoConfig, {}),
    "gemma": (GemmaConfig, {}),
    "olmo2": (Olmo2Config, {}),
    "olmo3": (Olmo3Config, {"rope_parameters": _BY_LAYER, **_ALTERNATING}),
    "gemma2": (
        Gemma2Config,
        {
            "query_pre_attn_scalar": 5,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            **_ALTERNATING,
        },
    ),
    "phi": (PhiConfig, {}),
    "phi3": (Phi3Config, {"partial_rotary_factor": 0.5, "sliding_window": 3}),
    "olmoe": (OlmoeConfig, {"num_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": (
        Qwen3MoeConfig,
        {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 6,
            "mlp_only_layers": [1],
            "norm_topk_prob": True,
        },
    ),
    "gptj": (GPTJConfig, {"rotary_dim": 2}),
    "opt": (OPTConfig, {}),
    "gpt_neo": (GPTNeoConfig, {"window_size": 3}),
    "gemma3_text": (
        Gemma3TextConfig,
        {
            "query_pre_attn_scalar": 5,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            },
            **_ALTERNATING,
        },
    ),
}


_WITHOUT_SHARING = ("gptj", "opt", "gpt_neo")
#: Names of sizes that differ from Llama's.
_NAMES = {
    "gptj": {
        "hidden_size": "n_embd",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
    },
    "opt": {"intermediate_size": "ffn_dim"},
    "gpt_neo": {"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
}


def family_config(name: str, sizes: dict[str, Any], options: dict[str, Any]) -> PreTrainedConfig:
    """Return the config of a small model.

    Takes sizes by the names that Llama has for them, and further options.
    """
    config, own = FAMILIES[name]
    layers = sizes["num_hidden_layers"]
    given = {**sizes, "pad_token_id": None, **own, **options}
    for ours, theirs in _NAMES.get(name, {}).items():
        given[theirs] = given.pop(ours)
    if name in _WITHOUT_SHARING:
        given = {k: v for k, v in given.items() if k not in ("num_key_value_heads", "head_dim")}
    if name == "gpt_neo":
        given["attention_types"] = [[["local" if i % 2 else "global"], 1] for i in range(layers)]
    if name == "phi":  # two dims of each head
        given.setdefault("partial_rotary_factor", 2 / sizes["head_dim"])
    if name in ("phi3", "olmoe"):
        del given["head_dim"]
    if config in (Olmo3Config, Gemma2Config, Gemma3TextConfig) and "layer_types" not in given:
        kinds = ("sliding_attention", "full_attention")
        given["layer_types"] = [kinds[i % 2] for i in range(layers)]
    return config(**given)


def _exact_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of Gemma 2, with its softmax in the precision that it is given."""
    groups = module.num_key_value_groups
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    scores = query @ key.mT * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


modeling_gemma2.eager_attention_forward = _exact_attention


def _rms(self: nn.Module, stream: torch.Tensor) -> torch.Tensor:
    variance = stream.pow(2).mean(-1, keepdim=True)
    return self.weight * (stream * torch.rsqrt(variance + self.variance_epsilon))


def _rms_of_gemma(self: nn.Module, stream: torch.Tensor) -> torch.Tensor:
    variance = stream.pow(2).mean(-1, keepdim=True)
    return (1 + self.weight) * (stream * torch.rsqrt(variance + self.eps))


def _layer_norm_of_olmo(self: nn.Module, stream: torch.Tensor) -> torch.Tensor:
    return nn.functional.layer_norm(stream, self.normalized_shape, eps=1e-5)


def _attention_of_gpt_neo(
    self: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    seen = self.bias[:, :, : query.shape[-2], : query.shape[-2]]
    scores = (query @ key.mT).masked_fill(~seen, torch.finfo(query.dtype).min)
    weights = nn.functional.softmax(scores, dim=-1)
    return weights @ value, weights


def _router(self: nn.Module, stream: torch.Tensor) -> tuple[torch.Tensor, ...]:
    scores = nn.functional.linear(stream.reshape(-1, self.hidden_dim), self.weight)
    shares, chosen = scores.softmax(-1).topk(self.top_k, dim=-1)
    return scores, shares / shares.sum(-1, True) if self.norm_topk_prob else shares, chosen


def precise(model: Any) -> Any:
    """Have a model's modules compute in the precision that they are given, not in single."""
    if model.dtype == torch.float64:
        for module in model.modules():
            kind = type(module).__name__
            if kind.startswith("Gemma") and kind.endswith("RMSNorm"):
                module.forward = MethodType(_rms_of_gemma, module)
            elif kind == "GPTNeoSelfAttention":
                module._attn = MethodType(_attention_of_gpt_neo, module)
            elif kind.endswith("TopKRouter"):
                module.forward = MethodType(_router, module)
            elif kind.endswith("RMSNorm"):
                module.forward = MethodType(_rms, module)
            elif kind == "OlmoLayerNorm":
                module.forward = MethodType(_layer_norm_of_olmo, module)
    return model
