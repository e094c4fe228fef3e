"""Random models of families that share most of their code with others."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    Olmo2Config,
    Olmo3Config,
    PreTrainedConfig,
    Qwen3Config,
)
from transformers.models.gemma2 import modeling_gemma2

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


def family_config(name: str, sizes: dict[str, Any], options: dict[str, Any]) -> PreTrainedConfig:
    """Return the config of a small model.

    Takes sizes by the names that Llama has for them, and further options.
    """
    config, own = FAMILIES[name]
    given = {**sizes, "pad_token_id": None, **own, **options}
    if "sliding_window" in own and "layer_types" not in given:
        kinds = ("sliding_attention", "full_attention")
        given["layer_types"] = [kinds[i % 2] for i in range(sizes["num_hidden_layers"])]
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
    key, value = (one.repeat_interleave(groups, dim=1) for one in (key, value))
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


def precise(model: Any) -> Any:
    """Have a model's modules compute in the precision that they are given, not in single."""
    if model.dtype == torch.float64:
        for module in model.modules():
            kind = type(module).__name__
            if kind.startswith("Gemma") and kind.endswith("RMSNorm"):
                module.forward = MethodType(_rms_of_gemma, module)
            elif kind.endswith("RMSNorm"):
                module.forward = MethodType(_rms, module)
    return model
