"""What adapters share: a model's sizes, activations by name, maps from named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cntbench.components import Component, by_experts, components
from cntbench.errors import CheckpointError, SpecError, nearest
from cntbench.models.blocks import Attention
from cntbench.models.decoder import Stage
from cntbench.models.feed_forward import MLP
from cntbench.models.heads import Attending
from cntbench.models.maps import LayerNorm, Linear, RMSNorm
from cntbench.models.products import GELU, GELU_TANH, RELU, SILU
from cntbench.models.rotary import Rotary

#: By the names of transformers, which has several for one function.
ACTIVATIONS = {
    **dict.fromkeys(("gelu", "gelu_python"), GELU),
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh"), GELU_TANH),
    **dict.fromkeys(("gelu_accurate", "gelu_fast"), GELU_TANH),
    "relu": RELU,
    **dict.fromkeys(("silu", "swish"), SILU),
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    Parameters
    ----------
    components
        In causal order.
    vocabulary
        Number of token ids.
    context
        Longest sequence that the adapter computes as the model does [tokens].
    beginning
        The token before every text in training, if the config names one. Models whose configs name
        different ones are of the same sizes.
    refused
        Estimators that have no rule for a part of the model: pairs of a name and the reason.
    experts
        Number of experts of each layer, 0 for one with an MLP; empty for models without experts.
    experts_per_token
        Number of experts of a layer that a token is sent to; 0 for models without experts.
    """

    components: tuple[Component, ...]
    vocabulary: int
    context: int
    beginning: int | None = field(default=None, compare=False)
    refused: tuple[tuple[str, str], ...] = ()
    experts: tuple[int, ...] = ()
    experts_per_token: int = 0

    def by_experts(self, *, where: str) -> Shape:
        """Return the sizes with each expert of a mixture as a component of its own.

        Raises a `SpecError` that names ``where`` if there are none.
        """
        if not any(self.experts):
            raise SpecError(
                "the model has no experts",
                where=where,
                hint="Leave it out. Mixtures of experts are "
                "olmoe and qwen3_moe; cntbench list architectures shows all.",
            )
        return replace(self, components=by_experts(self.components, self.experts))

    def check(self, ablation: str, estimator: str, *, where: str) -> None:
        """Raise a `SpecError` if the estimator of an ablation does not know a part of the model."""
        reason = dict(self.refused).get(estimator)
        if reason is not None:
            raise SpecError(
                f"ablation {ablation!r}: {estimator} {reason}",
                where=where,
                hint="Leave it out of the study; exact, eap and eap_ig know every model.",
            )


#: What estimators have no rules for; see `Shape.refused`.
NORM_AFTER_HEADS = "has no rule for a norm after attention, whose divisor all heads share"
ROUTER = "has no rule for the router of a mixture of experts"


def shape_from(config: Any, *, parallel: bool = False, mlps: bool = True) -> Shape:
    """Return the sizes in a config, and whether blocks are parallel and the model has MLPs."""
    layers, heads = config.num_hidden_layers, config.num_attention_heads
    return Shape(
        components=components(layers, heads, parallel=parallel, mlps=mlps),
        vocabulary=config.vocab_size,
        context=config.max_position_embeddings,
    )


def check_common(config: Any, activation: str) -> None:
    """Raise a `CheckpointError` for an unknown activation or quantised weights.

    Takes a config of transformers and the name of its activation.
    """
    if activation not in ACTIVATIONS:
        raise CheckpointError(
            f"activation {activation!r} is not supported", hint=nearest(activation, ACTIVATIONS)
        )
    if getattr(config, "quantization_config", None):
        raise CheckpointError(
            "quantised weights are not supported",
            hint="Allowed: float32, float16 or bfloat16 weights, without quantization_config.",
        )


def linear(tensors: Mapping[str, Tensor], name: str, *, bias: bool = True) -> Linear:
    """Return the affine map of a ``torch.nn.Linear``; a missing bias is 0."""
    weight = tensors[f"{name}.weight"]
    return Linear(weight, tensors[f"{name}.bias"] if bias else weight.new_zeros(len(weight)))


def joined_heads(
    maps: Sequence[Linear],
    output: Linear,
    width: int,
    rotary: Rotary | None = None,
    key_heads: int | None = None,
) -> Attention:
    """Return heads of a width from their maps to queries, keys and values, and their output."""

    def joined(*rows: Tensor) -> Tensor:
        if rotary is None:
            return torch.cat(rows)
        return rotary.arranged(*(of_kind.unflatten(0, (-1, width)) for of_kind in rows))

    return Attention.make(
        Linear(joined(*(m.weight for m in maps)), joined(*(m.bias for m in maps))),
        output=output.weight.mT.unflatten(0, (-1, width)).contiguous(),
        output_bias=output.bias,
        key_heads=key_heads,
        rotate=rotary,
    )


def within(heads: Attention, window: int | None, cap: float | None = None) -> Attention:
    """Return the heads with a sliding window and a cap of their scores."""
    return replace(heads, attending=Attending(window, cap))


def scaled_queries(heads: Attention, factor: float) -> Attention:
    """Return the heads with their queries, after any norm, multiplied by a factor."""
    if heads.norms is not None:
        query = heads.norms.query
        assert query.scale is not None
        norms = replace(heads.norms, query=RMSNorm(query.epsilon, query.scale * factor))
        return replace(heads, norms=norms)
    factors = torch.ones_like(heads.project.bias)
    factors[: heads.lengths[0]] = factor
    weight, bias = heads.project.weight, heads.project.bias
    return replace(heads, project=Linear(weight * factors[:, None], bias * factors))


def layer_norm(tensors: Mapping[str, Tensor], name: str, epsilon: float) -> LayerNorm:
    """Return a ``torch.nn.LayerNorm``."""
    return LayerNorm(epsilon, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def check_mlps(width: int | None) -> None:
    """Raise a `CheckpointError` if the MLPs have no hidden units.

    Takes their number; None if it follows from other sizes.
    """
    if width == 0:
        raise CheckpointError(
            "MLPs without hidden units are not supported in this family",
            hint="Attention-only models may be opt (ffn_dim = 0), gpt_neo, gpt_neox, llama and its "
            "relatives (intermediate_size = 0).",
        )


def without_empty_mlps(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages without the MLPs of an attention-only model, which have no hidden units.

    The bias that such an MLP writes becomes one of the heads before it.
    """
    merged: list[Stage] = []
    for stage in stages:
        mlps = [block for block in stage.blocks if isinstance(block, MLP)]
        empty = [mlp for mlp in mlps if not mlp.outer.weight.shape[1]]
        blocks = tuple(block for block in stage.blocks if not (empty and isinstance(block, MLP)))
        if blocks:
            merged.append(Stage(stage.norm, blocks))
        for mlp in empty:
            [last] = merged[-1].blocks
            assert isinstance(last, Attention)
            bias = last.output_bias + mlp.outer.bias
            merged[-1] = replace(merged[-1], blocks=(replace(last, output_bias=bias),))
    return tuple(merged)


def unembedding(
    tensors: Mapping[str, Tensor], *names: str, embedding: Tensor, config: Any
) -> Linear:
    """Return the map to logits, under any of its names, or tied to the embedding.

    As in transformers, an unembedding in the checkpoint takes precedence over tying. A bias, which
    is never tied, is 0 if it is missing.
    """
    present = [name for name in names if f"{name}.weight" in tensors]
    name = (*present, *names)[0]
    tied = config.tie_word_embeddings and not present
    weight = embedding if tied else tensors[f"{name}.weight"]
    bias = f"{name}.bias"
    return Linear(weight, tensors[bias] if bias in tensors else weight.new_zeros(len(weight)))
