"""The opponents: plain transformers with forward hooks, one forward pass per source.

They differ in how much of the unembedding they compute. All take the shortcuts of a careful author
of hooks: all prompts in one batch, targets compared at the scored positions only, a head's change
measured in its own space (the norm through W_O is a norm through a triangular factor), no softmax
over the vocabulary if only two logits are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.workloads import Shape, Workload, weights
from cntbench.models.products import affine
from cntbench.prompts import Prompts

Array = NDArray[np.float64]
Unembedding = Literal["everywhere", "scored", "none"]


@cache
def transformer(shape: Shape) -> PreTrainedModel:
    """Return a shape as the transformers library computes it, sharing the engine's weights."""
    config = shape.config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tensors = dict(weights(shape))
    names = set(model.state_dict())
    (head,) = names & {"lm_head.weight", "embed_out.weight"}
    tensors[head] = tensors.pop("embed_out.weight", tensors.get("model.embed_tokens.weight"))
    model.load_state_dict(tensors, assign=True, strict=True)
    # Buffers are not in the state dict: create them again, not on the meta device.
    base = model.base_model
    base.rotary_emb = type(base.rotary_emb)(config)
    return model.eval()


@dataclass(frozen=True)
class Layer:
    """A layer's modules: the one that reads z, and the MLP."""

    output: Any
    mlp: Any


def layers(model: PreTrainedModel) -> list[Layer]:
    """Return the layers of a model of any architecture."""
    blocks = model.base_model.layers
    if model.config.model_type == "gpt_neox":
        return [Layer(block.attention.dense, block.mlp) for block in blocks]
    return [Layer(block.self_attn.o_proj, block.mlp) for block in blocks]


class Hooked:
    """Reads and replaces the states of all components of a model by forward hooks."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.layers = layers(model)
        #: Whether the MLP of a layer reads its heads' output.
        self.sequential = not getattr(model.config, "use_parallel_residual", False)
        self.heads = model.config.num_attention_heads
        self.replaced: tuple[int, int | None, Tensor] | None = None
        self.seen: dict[tuple[int, str], Tensor] = {}
        self.keep: Callable[[Tensor], Tensor] = lambda state: state
        self.geometry: list[Tensor] = []
        for layer in self.layers:
            output = layer.output.weight.detach().mT.unflatten(0, (self.heads, -1))
            self.geometry.append(torch.linalg.qr(output.mT, mode="r").R.mT.contiguous())
        self.attach()

    def attach(self) -> None:
        """Hook all components."""
        for index, layer in enumerate(self.layers):
            layer.output.register_forward_pre_hook(self._on_heads(index))
            layer.mlp.register_forward_hook(self._on_mlp(index))

    def see_heads(self, layer: int, z: Tensor) -> Tensor | None:
        """Record z, dims ``prompt, position, head, width``; return another z if it is replaced."""
        self.seen[layer, "heads"] = self.keep(z)
        if self.replaced is None or self.replaced[0] != layer or self.replaced[1] is None:
            return None
        z = z.clone()
        z[:, :, self.replaced[1]] = self.replaced[2]
        return z

    def see_mlp(self, layer: int, output: Tensor) -> Tensor | None:
        """Record an MLP's output; return another one if it is replaced."""
        self.seen[layer, "mlp"] = self.keep(output)
        if self.replaced is None or self.replaced[0] != layer or self.replaced[1] is not None:
            return None
        return self.replaced[2].expand_as(output)

    def _on_heads(self, layer: int) -> Callable[..., Any]:
        def hook(module: Any, args: tuple[Tensor]) -> tuple[Tensor] | None:
            z = self.see_heads(layer, args[0].unflatten(-1, (self.heads, -1)))
            return None if z is None else (z.flatten(-2),)

        return hook

    def _on_mlp(self, layer: int) -> Callable[..., Any]:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor | None:
            return self.see_mlp(layer, output)

        return hook

    def run(self, tokens: Tensor, unembedding: Unembedding) -> Tensor:
        """Run the model; return logits, or the final stream if the unembedding is left out."""
        self.seen = {}
        if unembedding == "everywhere":
            return self.model(tokens, use_cache=False).logits
        return self.model.base_model(tokens, use_cache=False).last_hidden_state


@cache
def hooked(shape: Shape) -> Hooked:
    """Return a shape with hooks."""
    return Hooked(transformer(shape))


@torch.inference_mode()
def hooks(
    workload: Workload,
    prompts: Prompts,
    unembedding: Unembedding,
    batch: int | None = None,
    model: Hooked | None = None,
) -> tuple[Array, Array]:
    """Measure the same quantities as the engine: influence and effects, means over prompts.

    ``model`` may read and replace states by other means than plain hooks.

    Dims ``ablation, source, target`` and ``ablation, readout, source``, with the readouts of the
    workload.
    """
    size = batch or len(prompts)
    model = model or hooked(workload.shape)
    references = [None] * len(workload.ablations)
    if "mean" in workload.ablations:
        references = [_states(model, prompts)]
    total: list[Any] = []
    for start in range(0, len(prompts), size):
        rows = slice(start, start + size)
        total.append(_batch(workload, model, prompts.take(rows), unembedding, references[0]))
    influence = np.concatenate([change for change, _ in total], axis=-1).mean(-1)
    effect = np.concatenate([effect for _, effect in total], axis=-1).mean(-1)
    return influence, effect


@contextmanager
def by_the_engines_kernel() -> Iterator[None]:
    """Run every linear layer by the engine's operator."""

    def forward(self: torch.nn.Linear, rows: Tensor) -> Tensor:
        return affine(rows, self.weight, self.bias if self.bias is not None else _zeros(self))

    with patch.object(torch.nn.Linear, "forward", forward):
        yield


@cache
def _zeros(layer: torch.nn.Linear) -> Tensor:
    return layer.weight.new_zeros(len(layer.weight))


def _states(model: Hooked, prompts: Prompts) -> dict[tuple[int, str], Tensor]:
    assert prompts.reference is not None
    model.keep = lambda state: state
    model.run(torch.from_numpy(prompts.reference), "none")
    return {key: state.mean(dim=0, keepdim=True) for key, state in model.seen.items()}


def _batch(
    workload: Workload, model: Hooked, prompts: Prompts, unembedding: Unembedding, mean: Any
) -> tuple[Array, Array]:
    """Return influence and effects, dims ``ablation, source, target | effect, prompt``."""
    tokens = torch.from_numpy(prompts.tokens)
    row = torch.arange(len(tokens))[:, None]
    at = torch.from_numpy(prompts.scored)
    donor = {}
    if "resample" in workload.ablations:
        assert prompts.reference is not None
        model.keep = lambda state: state
        model.run(torch.from_numpy(prompts.reference), "none")
        donor = model.seen
    first, last = int(at[0, 0]), int(at[0, -1]) + 1

    def keep(state: Tensor) -> Tensor:
        return state if workload.observe_all else state[:, first:last]

    assert (at == torch.arange(first, last)).all()
    model.replaced, model.keep = None, keep
    score = _scorer(workload, model, prompts, unembedding, row, at)
    clean_readouts = score(model.run(tokens, unembedding))
    clean = {key: _image(model, key, state) for key, state in model.seen.items()}
    lengths = {key: state.norm(dim=-1) for key, state in clean.items()}
    sources = [(la, h) for la in range(len(model.layers)) for h in [*range(model.heads), None]]
    n, per_layer = len(sources), model.heads + 1
    change = np.full((len(workload.ablations), n, n, len(tokens)), np.nan)
    effect = np.empty((len(workload.ablations), len(workload.effects), n, len(tokens)))
    for a, ablation in enumerate(workload.ablations):
        for s, (layer, head) in enumerate(sources):
            key = (layer, "mlp" if head is None else "heads")
            if ablation == "zero":
                new = torch.zeros(())
            else:
                states = (mean if ablation == "mean" else donor)[key]
                new = states if head is None else states[:, :, head]
            model.replaced = (layer, head, new)
            effect[a, :, s] = (score(model.run(tokens, unembedding)) - clean_readouts).T
            for (u, kind), state in model.seen.items():
                inside = model.sequential and kind == "mlp" and head is not None
                if u > layer or (u == layer and inside):
                    moved = _image(model, (u, kind), state) - clean[u, kind]
                    ratio = (moved.norm(dim=-1) / lengths[u, kind]).mean(dim=1)
                    first_target = u * per_layer + (model.heads if kind == "mlp" else 0)
                    width = 1 if kind == "mlp" else model.heads
                    targets = slice(first_target, first_target + width)
                    change[a, s, targets] = ratio.view(len(tokens), width).T
    model.replaced = None
    return change, effect


def _image(model: Hooked, key: tuple[int, str], state: Tensor) -> Tensor:
    layer, kind = key
    if kind == "mlp":
        return state
    return torch.einsum("bphw,hwr->bphr", state, model.geometry[layer])


def _scorer(
    workload: Workload,
    model: Hooked,
    prompts: Prompts,
    unembedding: Unembedding,
    row: Tensor,
    at: Tensor,
) -> Callable[[Tensor], Array]:
    """Return the function that computes readouts of a run, dims ``prompt, readout``."""
    targets, decoys = torch.from_numpy(prompts.targets), torch.from_numpy(prompts.decoys)
    head = model.model.get_output_embeddings()
    weight = head.weight
    direction = weight[targets] - weight[decoys] if unembedding == "none" else None

    def score(final: Tensor) -> Array:
        rows = final[row, at]
        if direction is not None:
            assert workload.effects == ("logit_difference",)
            return (rows * direction).sum(-1).mean(-1, keepdim=True).numpy().astype(np.float64)
        logits = rows if unembedding == "everywhere" else head(rows)
        of_target = logits.gather(2, targets[..., None])[..., 0]
        readouts = []
        for effect in workload.effects:
            if effect == "cross_entropy":
                readouts.append((logits.logsumexp(dim=-1) - of_target).mean(-1))
            elif effect == "logit_difference":
                readouts.append((of_target - logits.gather(2, decoys[..., None])[..., 0]).mean(-1))
            else:
                readouts.append((logits.argmax(dim=-1) == targets).float().mean(-1))
        return torch.stack(readouts, dim=-1).numpy().astype(np.float64)

    return score
