"""Where transformers keeps the parts of a model, by architecture: for oracles and surgery.

Weights come as views: writing to them changes the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from cntbench.specs import HEAD_INPUTS


@contextmanager
def hooked(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks at the end of a block."""
    handles = list(hooks)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Projection:
    """A module that makes queries, keys or values.

    Parameters
    ----------
    module
        The module.
    readers
        What it makes.
    dims
        Its outputs, cut into dims of which the last but one tells ``readers`` apart.
    """

    module: nn.Module
    readers: tuple[str, ...]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One layer.

    Parameters
    ----------
    attention, mlp
        The modules that write to the stream.
    output
        The module that is given z.
    attention_norm, mlp_norm
        What attention and MLP read through.
    projections
        What makes queries, keys and values.
    heads
        By reader, views of its weights and of its biases, dims ``head, width, …``.
    weight
        W_O, dims ``head, width, hidden``.
    inner, outer
        The maps of the MLP to and from hidden units.
    after
        The norm after attention, which writes to the stream then; None if there is none.
    """

    attention: nn.Module
    mlp: nn.Module
    output: nn.Module
    attention_norm: nn.Module
    mlp_norm: nn.Module
    projections: tuple[Projection, ...]
    heads: dict[str, list[Tensor]]
    weight: Tensor
    inner: tuple[nn.Module, ...]
    outer: nn.Module
    after: nn.Module | None = None


class Anatomy:
    """A model of any supported architecture, and where its parts are."""

    def __init__(self, model: PreTrainedModel) -> None:
        config, base = model.config, model.base_model
        self.n_heads = config.num_attention_heads
        self.width = getattr(config, "head_dim", None) or config.hidden_size // self.n_heads
        self.n_keys = getattr(config, "num_key_value_heads", None) or self.n_heads
        parallel = config.model_type in ("gptj", "phi")
        self.parallel = getattr(config, "use_parallel_residual", parallel)
        self.embedding = model.get_input_embeddings()
        if config.model_type == "gpt_neox":
            self.final_norm, blocks, make = base.final_layer_norm, base.layers, self._gpt_neox
        elif config.model_type == "gpt2":
            self.final_norm, blocks, make = base.ln_f, base.h, self._gpt2
        elif config.model_type in ("gptj", "gpt_neo"):
            self.final_norm, blocks, make = base.ln_f, base.h, self._separate
        elif config.model_type == "opt":
            base = base.decoder
            self.final_norm, blocks, make = base.final_layer_norm, base.layers, self._opt
        elif config.model_type == "phi":
            self.final_norm, blocks, make = base.final_layernorm, base.layers, self._phi
        else:
            self.final_norm, blocks, make = base.norm, base.layers, self._llama
        self.layers = [make(block) for block in blocks]

    def _gpt_neox(self, block: nn.Module) -> Layer:
        fused, dense = block.attention.query_key_value, block.attention.dense
        dims = (self.n_heads, 3, self.width)
        return Layer(
            attention=block.attention,
            mlp=block.mlp,
            output=dense,
            attention_norm=block.input_layernorm,
            mlp_norm=block.post_attention_layernorm,
            projections=(Projection(fused, HEAD_INPUTS, dims),),
            heads={
                reader: [part.unflatten(0, dims)[:, i] for part in parts(fused)]
                for i, reader in enumerate(HEAD_INPUTS)
            },
            weight=dense.weight.mT.unflatten(0, (self.n_heads, -1)),
            inner=(block.mlp.dense_h_to_4h,),
            outer=block.mlp.dense_4h_to_h,
        )

    def _gpt2(self, block: nn.Module) -> Layer:
        fused, dense = block.attn.c_attn, block.attn.c_proj
        dims = (3, self.n_heads, self.width)
        return Layer(
            attention=block.attn,
            mlp=block.mlp,
            output=dense,
            attention_norm=block.ln_1,
            mlp_norm=block.ln_2,
            projections=(Projection(fused, HEAD_INPUTS, (3, self.n_heads * self.width)),),
            heads={
                reader: [fused.weight.mT.unflatten(0, dims)[i], fused.bias.unflatten(0, dims)[i]]
                for i, reader in enumerate(HEAD_INPUTS)
            },
            weight=dense.weight.unflatten(0, (self.n_heads, -1)),
            inner=(block.mlp.c_fc,),
            outer=block.mlp.c_proj,
        )

    def _separate(self, block: nn.Module) -> Layer:
        attention, mlp = getattr(block.attn, "attention", block.attn), block.mlp
        inner, outer = (mlp.fc_in, mlp.fc_out) if hasattr(mlp, "fc_in") else (mlp.c_fc, mlp.c_proj)
        return Layer(
            attention=attention,
            mlp=mlp,
            output=attention.out_proj,
            attention_norm=block.ln_1,
            mlp_norm=getattr(block, "ln_2", block.ln_1),
            weight=attention.out_proj.weight.mT.unflatten(0, (self.n_heads, -1)),
            inner=(inner,),
            outer=outer,
            **self._projected(attention),
        )

    def _opt(self, block: nn.Module) -> Layer:
        return Layer(
            attention=block.self_attn,
            mlp=block.fc2,
            output=block.self_attn.out_proj,
            attention_norm=block.self_attn_layer_norm,
            mlp_norm=block.final_layer_norm,
            weight=block.self_attn.out_proj.weight.mT.unflatten(0, (self.n_heads, -1)),
            inner=(block.fc1,),
            outer=block.fc2,
            **self._projected(block.self_attn),
        )

    def _phi(self, block: nn.Module) -> Layer:
        return Layer(
            attention=block.self_attn,
            mlp=block.mlp,
            output=block.self_attn.dense,
            attention_norm=block.input_layernorm,
            mlp_norm=block.input_layernorm,
            weight=block.self_attn.dense.weight.mT.unflatten(0, (self.n_heads, -1)),
            inner=(block.mlp.fc1,),
            outer=block.mlp.fc2,
            **self._projected(block.self_attn),
        )

    def _projected(self, attention: nn.Module) -> dict[str, Any]:
        """Projections and heads where queries, keys and values have modules of their own."""
        modules = attention.q_proj, attention.k_proj, attention.v_proj
        pairs = list(zip(HEAD_INPUTS, modules, strict=True))
        return {
            "projections": tuple(Projection(m, (r,), (1, -1)) for r, m in pairs),
            "heads": {r: [p.unflatten(0, (-1, self.width)) for p in parts(m)] for r, m in pairs},
        }

    def _fused(self, fused: nn.Module) -> dict[str, Any]:
        heads = self.n_heads, self.n_keys, self.n_keys
        views = fused.weight.split([count * self.width for count in heads])
        pairs = list(zip(HEAD_INPUTS, views, strict=True))
        readers = [r for r, count in zip(HEAD_INPUTS, heads, strict=True) for _ in range(count)]
        return {
            "projections": (Projection(fused, tuple(readers), (len(readers), self.width)),),
            "heads": {reader: [view.unflatten(0, (-1, self.width))] for reader, view in pairs},
        }

    def _llama(self, block: nn.Module) -> Layer:
        attention, mlp = block.self_attn, block.mlp
        weight = attention.o_proj.weight.mT.unflatten(0, (self.n_heads, -1))
        after, writes = None, mlp
        if hasattr(attention, "qkv_proj"):
            projected, inner = self._fused(attention.qkv_proj), (mlp.gate_up_proj,)
        else:
            inner = getattr(mlp, "gate_proj", mlp), getattr(mlp, "up_proj", mlp)
            projected = self._projected(attention)
        if hasattr(block, "post_feedforward_layernorm"):
            after, writes = block.post_attention_layernorm, block.post_feedforward_layernorm
            gemma = hasattr(block, "pre_feedforward_layernorm")
            norms = (
                (block.input_layernorm, block.pre_feedforward_layernorm)
                if gemma
                else (reads_through(attention), reads_through(mlp))
            )
            weight = weight * (after.weight + gemma)
        else:
            norms = (block.input_layernorm, block.post_attention_layernorm)
        return Layer(
            attention=attention,
            mlp=writes,
            output=attention.o_proj,
            attention_norm=norms[0],
            mlp_norm=norms[1],
            weight=weight,
            inner=inner,
            outer=getattr(mlp, "down_proj", mlp),  # experts have several
            after=after,
            **projected,
        )


def reads_through(module: nn.Module) -> nn.Module:
    """Return a module that does nothing, through which another reads the stream from now on."""
    if not hasattr(module, "reads_through"):
        module.reads_through = nn.Identity()

        def hook(module, args, options):
            if args:
                return (module.reads_through(args[0]), *args[1:]), options
            stream = module.reads_through(options["hidden_states"])
            return args, {**options, "hidden_states": stream}

        module.register_forward_pre_hook(hook, with_kwargs=True)
    return module.reads_through


def parts(module: nn.Module) -> list[Tensor]:
    """Return the weight of a module, and its bias if it has one."""
    return list(module.parameters())


@torch.no_grad()
def silence(*modules: nn.Module, bias: bool = True) -> None:
    """Set the weights of modules to zero, and their biases too unless told otherwise."""
    for module in modules:
        for part in parts(module) if bias else [module.weight]:
            part.zero_()
