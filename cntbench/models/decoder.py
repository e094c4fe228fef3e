"""A decoder as the engine sees it: stages of components that read and write a residual stream.

A stage normalises the stream once; its blocks (the heads of a layer, an MLP) read the normalised
stream, whose scale and shift are folded into their weights. Each block splits its output into the
contributions of its components. A component's *state* determines its contribution linearly: for a
head it is its slice of z, before W_O, of width d_head; for an MLP it is the output itself.

Dims: ``run`` counts versions of the same prompts (clean, ablated), ``hidden`` is d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from cntbench.components import Component, by_experts
from cntbench.models.blocks import Block
from cntbench.models.experts import Experts
from cntbench.models.maps import Linear, Norm


@dataclass(frozen=True)
class Stage:
    """Blocks that read the same residual stream, in parallel."""

    norm: Norm
    blocks: tuple[Block, ...]


class Place(NamedTuple):
    """A block, its number among all blocks of the decoder, and the indices of its components."""

    block: Block
    number: int
    nodes: range


class PlacedStage(NamedTuple):
    """A stage, the places of its blocks, and the indices of all of its components."""

    stage: Stage
    places: list[Place]
    nodes: range


@dataclass(frozen=True)
class Decoder:
    """A decoder-only Transformer of any supported architecture.

    Parameters
    ----------
    embed
        Maps token ids, dims ``…, position``, to the residual stream, dims ``…, position, hidden``.
    stages
        In causal order.
    final_norm, unembed
        The map from the stream to logits. The norm keeps its scale and shift: folding them would
        copy the unembedding, the largest tensor of a small model.
    components
        In causal order, stage by stage and block by block.
    context
        Longest sequence [tokens].
    """

    embed: Callable[[Tensor], Tensor]
    stages: tuple[Stage, ...]
    final_norm: Norm
    unembed: Linear
    components: tuple[Component, ...]
    context: int

    def logits(self, tokens: Tensor) -> Tensor:
        """Compute the logits at every position, dims ``prompt, position, token``.

        Takes token ids, dims ``prompt, position``. The engine needs only some of these logits.
        """
        stream = self.embed(tokens)[None]
        for stage in self.stages:
            normed = stage.norm(stream)
            for block in stage.blocks:
                block.write(block.states(normed), stream)
        return self.unembed(self.final_norm(stream))[0]

    def by_experts(self) -> Decoder:
        """Return the decoder with each expert of a mixture as a component of its own."""

        def apart(block: Block) -> Block:
            return replace(block, apart=True) if isinstance(block, Experts) else block

        stages = tuple(replace(s, blocks=tuple(map(apart, s.blocks))) for s in self.stages)
        return replace(self, stages=stages, components=by_experts(self.components, self.experts))

    @property
    def experts(self) -> tuple[int, ...]:
        """Number of experts of each layer; 0 for one without a mixture of experts."""
        counts = [0] * (1 + self.components[-1].layer)
        for block, _, nodes in self.places:
            if isinstance(block, Experts):
                counts[self.components[nodes.start].layer] = len(block.experts)
        return tuple(counts)

    @property
    def blocks(self) -> list[Block]:
        """All blocks in causal order."""
        return [block for stage in self.stages for block in stage.blocks]

    @property
    def walk(self) -> list[PlacedStage]:
        """The stages with the places of their blocks, in causal order."""
        walk: list[PlacedStage] = []
        number = first = 0
        for stage in self.stages:
            places, start = [], first
            for block in stage.blocks:
                nodes = range(first, first + block.n_components)
                places.append(Place(block, number, nodes))
                number, first = number + 1, nodes.stop
            walk.append(PlacedStage(stage, places, range(start, first)))
        return walk

    @property
    def places(self) -> list[Place]:
        """The places of all blocks, in causal order."""
        return [place for placed in self.walk for place in placed.places]

    @property
    def hidden(self) -> int:
        """Width of the residual stream, d_model."""
        return self.unembed.weight.shape[1]

    @property
    def vocabulary(self) -> int:
        """Number of tokens that have a logit."""
        return self.unembed.weight.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.unembed.weight.dtype
