"""Work, and what a decoder's blocks cost: tokens that go through layers, FLOPs of products.

A *layer-token* is one token of one run through the attention of a layer, or through its MLP; either
counts one half. A matrix product of sizes m × k and k × n counts 2 m k n FLOPs, as in
`torch.utils.flop_counter`. Attention's own two products, queries with keys and weights with values,
are counted apart and in full, though the causal half of them is never used: libraries differ in
whether they compute (and count) it. Everything else, norms, activations and exponentials, is left
out: it is linear in the tokens.

In all functions ``rows`` counts prompts × runs, ``length`` the positions of a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cntbench.models.blocks import MLP, Attention, Block
from cntbench.models.decoder import Decoder


@dataclass(frozen=True)
class Work:
    """An amount of work.

    Parameters
    ----------
    attention_tokens, mlp_tokens
        Tokens for which attention, and the MLP, of a layer is computed.
    products
        FLOPs of matrix products, attention's own two not among them.
    attention
        FLOPs of attention's own two.
    """

    attention_tokens: int = 0
    mlp_tokens: int = 0
    products: int = 0
    attention: int = 0

    @property
    def token_layers(self) -> float:
        """Tokens × layers."""
        return (self.attention_tokens + self.mlp_tokens) / 2

    @property
    def flops(self) -> int:
        """FLOPs of all matrix products."""
        return self.products + self.attention

    def __add__(self, other: Work) -> Work:
        return Work(
            self.attention_tokens + other.attention_tokens,
            self.mlp_tokens + other.mlp_tokens,
            self.products + other.products,
            self.attention + other.attention,
        )

    def __mul__(self, times: int) -> Work:
        return Work(
            self.attention_tokens * times,
            self.mlp_tokens * times,
            self.products * times,
            self.attention * times,
        )


def total(parts: Iterable[Work]) -> Work:
    """Add up work."""
    return sum(parts, start=Work())


def blocks(model: Decoder) -> list[Block]:
    """List the blocks of a decoder, in causal order."""
    return [block for stage in model.stages for block in stage.blocks]


def states(
    block: Block, rows: int, asked: int, length: int | None = None, *, apart: bool = False
) -> Work:
    """Return what the states of a block cost.

    Parameters
    ----------
    block, rows
        The block, and how many prompts × runs it is computed for.
    asked
        Positions at which states are asked for.
    length
        Positions that keys and values are made at; None if they are made together with queries.
    apart
        Whether values are made of another stream than keys.
    """
    if isinstance(block, MLP):
        maps = (block.inner, block.gate, block.outer)
        weights = sum(one.weight.numel() for one in maps if one is not None)
        return Work(mlp_tokens=rows * asked, products=2 * rows * asked * weights)
    assert isinstance(block, Attention)
    made, hidden = block.project.weight.shape
    queries, keys, _ = block.lengths
    seen = asked if length is None else length
    outputs = asked * queries + seen * (made - queries)
    if apart:
        outputs += seen * (made - queries - keys)
    weighted = block.n_components * block.width
    return Work(
        attention_tokens=rows * asked,
        products=2 * rows * hidden * outputs,
        attention=2 * rows * asked * seen * (queries + weighted),
    )


def pattern(block: Block, rows: int, length: int) -> Work:
    """Return what the attention weights of a block cost, written out."""
    assert isinstance(block, Attention)
    queries, keys, _ = block.lengths
    weights = (queries + keys) * block.project.weight.shape[1]
    return Work(products=2 * rows * length * (weights + queries * length))


def contributions(block: Block, tokens: int) -> Work:
    """Return the cost of mapping states to contributions: nothing for an MLP, W_O for heads."""
    return Work(products=2 * tokens * block.output.numel() if isinstance(block, Attention) else 0)


def image(block: Block, tokens: int) -> Work:
    """Return the cost of mapping states to short vectors of the same lengths."""
    return Work(products=2 * tokens * block.geometry.numel() if isinstance(block, Attention) else 0)


def passed(block: Block, rows: int, asked: int, length: int | None = None) -> Work:
    """Return the cost of one block's part in a forward pass: its states, added to the stream."""
    return states(block, rows, asked, length) + contributions(block, rows * asked)


def forward(model: Decoder, rows: int, length: int) -> Work:
    """Return the cost of a plain forward pass, without the unembedding."""
    return total(passed(block, rows, length) for block in blocks(model))


def unembedding(model: Decoder, tokens: int) -> Work:
    """Return the cost of all logits of some tokens."""
    return Work(products=2 * tokens * model.hidden * model.vocabulary)
