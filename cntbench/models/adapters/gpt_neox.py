"""GPT-NeoX: Pythia and its family; rotary positions, parallel (or sequential) residual.

Equations follow ``GPTNeoXForCausalLM`` of the transformers library, to which the tests hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.components import components
from cntbench.errors import CheckpointError, nearest
from cntbench.models.adapters._base import Shape
from cntbench.models.decoder import MLP, Attention, Decoder, LayerNorm, Linear, Stage

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


def shape(config: GPTNeoXConfig) -> Shape:
    """Return the model's sizes.

    Raises
    ------
    CheckpointError
        If the config asks for something that this adapter does not compute.
    """
    if config.hidden_act not in ACTIVATIONS:
        raise CheckpointError(
            f"activation {config.hidden_act!r} is not supported",
            hint=nearest(config.hidden_act, ACTIVATIONS),
        )
    rope = config.rope_parameters["rope_type"]
    if rope != "default":
        raise CheckpointError(
            f"rotary embedding of type {rope!r} is not supported", hint="Allowed: default."
        )
    return Shape(
        components=components(
            config.num_hidden_layers,
            config.num_attention_heads,
            parallel=config.use_parallel_residual,
        ),
        vocabulary=config.vocab_size,
        context=config.max_position_embeddings,
    )


def decoder(config: GPTNeoXConfig, tensors: Mapping[str, Tensor]) -> Decoder:
    """Map a GPT-NeoX ``state_dict`` to stages."""
    size = shape(config)
    epsilon = config.layer_norm_eps
    embedding = tensors["gpt_neox.embed_in.weight"]
    rotate = _Rotary(config, embedding)
    stages: list[Stage] = []
    for layer in range(config.num_hidden_layers):
        prefix = f"gpt_neox.layers.{layer}."
        part = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        attention = _attention(part, config.num_attention_heads, rotate)
        mlp = MLP(
            _folded(part, "mlp.dense_h_to_4h", "post_attention_layernorm"),
            Linear(part["mlp.dense_4h_to_h.weight"], part["mlp.dense_4h_to_h.bias"]),
            ACTIVATIONS[config.hidden_act],
        )
        norm = LayerNorm(epsilon)
        if config.use_parallel_residual:
            stages.append(Stage(norm, (attention, mlp)))
        else:
            stages += [Stage(norm, (attention,)), Stage(norm, (mlp,))]
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=tuple(stages),
        final_norm=LayerNorm(epsilon),
        unembed=_folded(tensors, _head(tensors), "gpt_neox.final_layer_norm"),
        components=size.components,
        context=size.context,
    )


def _head(tensors: Mapping[str, Tensor]) -> str:
    """Return the unembedding's name: on disk, in memory, or tied to the embedding."""
    for name in ("embed_out", "lm_head"):
        if f"{name}.weight" in tensors:
            return name
    return "gpt_neox.embed_in"


def _folded(tensors: Mapping[str, Tensor], linear: str, norm: str) -> Linear:
    weight = tensors[f"{linear}.weight"]
    bias = tensors.get(f"{linear}.bias", weight.new_zeros(len(weight)))
    return Linear.folded(weight, bias, tensors[f"{norm}.weight"], tensors[f"{norm}.bias"])


def _attention(part: Mapping[str, Tensor], n_heads: int, rotate: _Rotary) -> Attention:
    fused = _folded(part, "attention.query_key_value", "input_layernorm")

    def by_kind(rows: Tensor) -> Tensor:
        # The checkpoint has query, key and value of head 0, then of head 1, …
        return rows.unflatten(0, (n_heads, 3, -1)).transpose(0, 1).flatten(0, 2).contiguous()

    weight = part["attention.dense.weight"]
    return Attention.make(
        Linear(by_kind(fused.weight), by_kind(fused.bias)),
        output=weight.mT.unflatten(0, (n_heads, -1)).contiguous(),
        output_bias=part.get("attention.dense.bias", weight.new_zeros(len(weight))),
        rotate=rotate,
    )


class _Rotary:
    """Rotary position embedding (Su et al. 2021) of the first ``partial_rotary_factor`` dims."""

    def __init__(self, config: GPTNeoXConfig, like: Tensor) -> None:
        width = config.hidden_size // config.num_attention_heads
        self.rotated = int(width * config.rope_parameters["partial_rotary_factor"])
        exponent = torch.arange(0, self.rotated, 2, dtype=torch.int64).float() / self.rotated
        frequency = 1.0 / config.rope_parameters["rope_theta"] ** exponent
        position = torch.arange(config.max_position_embeddings).float()
        angle = torch.outer(position, frequency).repeat(1, 2)[:, None, None, :]
        half = self.rotated // 2
        sine = angle.sin()
        sine[..., :half] *= -1
        self.cosine = angle.cos().to(like)
        self.sine = sine.to(like)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Rotate ``…, position, query | key, component, width``."""
        length = vectors.shape[1]
        turned = vectors[..., : self.rotated]
        swapped = turned.roll(self.rotated // 2, dims=-1)
        turned = turned * self.cosine[:length] + swapped * self.sine[:length]
        if self.rotated == vectors.shape[-1]:
            return turned
        return torch.cat([turned, vectors[..., self.rotated :]], dim=-1)
