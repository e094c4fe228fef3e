"""GPT-NeoX: Pythia and its family; rotary positions, parallel (or sequential) residual.

Equations follow ``GPTNeoXForCausalLM`` of the transformers library, to which the tests hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.components import components
from cntbench.errors import CheckpointError, nearest
from cntbench.models.adapters._base import Shape
from cntbench.models.blocks import MLP, Attention, LayerNorm, Linear
from cntbench.models.decoder import Decoder, Stage
from cntbench.models.products import GELU, GELU_TANH, RELU, SILU

if TYPE_CHECKING:
    from transformers import GPTNeoXConfig

ACTIVATIONS = {
    "gelu": GELU,
    "gelu_new": GELU_TANH,
    "gelu_pytorch_tanh": GELU_TANH,
    "relu": RELU,
    "silu": SILU,
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
    embedding = tensors["gpt_neox.embed_in.weight"]
    norm = LayerNorm(config.layer_norm_eps)
    rotate = _Rotary(config, embedding)
    stages: list[Stage] = []
    for layer in range(config.num_hidden_layers):
        prefix = f"gpt_neox.layers.{layer}."
        attention = _attention(tensors, prefix, config.num_attention_heads, rotate)
        outer = f"{prefix}mlp.dense_4h_to_h"
        mlp = MLP(
            _folded(tensors, f"{prefix}mlp.dense_h_to_4h", f"{prefix}post_attention_layernorm"),
            Linear(tensors[f"{outer}.weight"], tensors[f"{outer}.bias"]),
            ACTIVATIONS[config.hidden_act],
        )
        if config.use_parallel_residual:
            stages.append(Stage(norm, (attention, mlp)))
        else:
            stages += [Stage(norm, (attention,)), Stage(norm, (mlp,))]
    return Decoder(
        embed=partial(F.embedding, weight=embedding),
        stages=tuple(stages),
        final_norm=LayerNorm(
            config.layer_norm_eps,
            tensors["gpt_neox.final_layer_norm.weight"],
            tensors["gpt_neox.final_layer_norm.bias"],
        ),
        unembed=_head(tensors),
        components=size.components,
        context=size.context,
    )


def _head(tensors: Mapping[str, Tensor]) -> Linear:
    """Return the unembedding, under its name on disk or in memory, or tied to the embedding."""
    for name in ("embed_out", "lm_head"):
        if f"{name}.weight" in tensors:
            return _linear(tensors, name)
    return _linear(tensors, "gpt_neox.embed_in")


def _linear(tensors: Mapping[str, Tensor], name: str) -> Linear:
    weight = tensors[f"{name}.weight"]
    return Linear(weight, tensors.get(f"{name}.bias", weight.new_zeros(len(weight))))


def _folded(tensors: Mapping[str, Tensor], linear: str, norm: str) -> Linear:
    """Return an affine map of the standardised stream, a norm's scale and shift folded in."""
    plain = _linear(tensors, linear)
    scale, shift = tensors[f"{norm}.weight"], tensors[f"{norm}.bias"]
    return Linear.folded(plain.weight, plain.bias, scale, shift)


def _attention(
    tensors: Mapping[str, Tensor], prefix: str, n_heads: int, rotate: _Rotary
) -> Attention:
    fused = _folded(tensors, f"{prefix}attention.query_key_value", f"{prefix}input_layernorm")

    def by_kind(rows: Tensor) -> Tensor:
        # The checkpoint has query, key and value of head 0, then of head 1, …
        query, key, value = rows.unflatten(0, (n_heads, 3, -1)).unbind(1)
        parts = rotate.paired(query), rotate.paired(key), value
        together = torch.cat([kind.flatten(0, 1) for kind in parts])
        # Complex numbers want an even number of real ones in a row.
        return torch.cat([together, rows.new_zeros((len(together) % 2, *rows.shape[1:]))])

    weight = tensors[f"{prefix}attention.dense.weight"]
    return Attention.make(
        Linear(by_kind(fused.weight), by_kind(fused.bias)),
        output=weight.mT.unflatten(0, (n_heads, -1)).contiguous(),
        output_bias=tensors.get(f"{prefix}attention.dense.bias", weight.new_zeros(len(weight))),
        rotate=rotate,
    )


class _Rotary:
    """Rotary position embedding (Su et al. 2021) of the first ``partial_rotary_factor`` dims.

    The model turns dims i and i + n/2 of its first n together, by an angle that depends on the
    position. Here such pairs stand side by side (which changes no inner product of queries with
    keys), so that turning is one product of complex numbers; the other dims are turned by 0.
    """

    def __init__(self, config: GPTNeoXConfig, like: Tensor) -> None:
        self.width = config.hidden_size // config.num_attention_heads
        rotated = int(self.width * config.rope_parameters["partial_rotary_factor"])
        exponent = torch.arange(0, rotated, 2, dtype=torch.int64).float() / rotated
        frequency = 1.0 / config.rope_parameters["rope_theta"] ** exponent
        self.pairs = len(frequency)
        angle = torch.outer(torch.arange(config.max_position_embeddings).float(), frequency)
        angle = F.pad(angle, (0, (self.width + 1) // 2 - self.pairs))
        # As real numbers, rounded to the model's type, as transformers does.
        turn = torch.stack([angle.cos().to(like), angle.sin().to(like)], dim=-1)
        turn = turn.unsqueeze(1).expand(-1, config.num_attention_heads, -1, -1)
        self.turn = torch.view_as_complex(turn.contiguous())

    def paired(self, rows: Tensor) -> Tensor:
        """Reorder dim 1, a head's width, to have pairs side by side; an odd width is padded."""
        first = torch.arange(self.pairs)
        rest = torch.arange(2 * self.pairs, self.width)
        order = torch.cat([torch.stack([first, first + self.pairs], dim=1).flatten(), rest])
        missing = rows.new_zeros((len(rows), self.width % 2, *rows.shape[2:]))
        return torch.cat([rows[:, order], missing], dim=1)

    def __call__(self, vectors: Tensor, positions: Tensor | None) -> None:
        """Turn ``run, prompt, position, component, width``, in place."""
        turn = self.turn[: vectors.shape[-3]] if positions is None else self.turn[positions]
        pairs = torch.view_as_complex(vectors.unflatten(-1, (-1, 2)))
        pairs.unflatten(-2, (-1, turn.shape[-2])).mul_(turn.unsqueeze(-3))
