"""Parts of heads that only some architectures have, and what a head sees.

Dims: ``run`` counts versions of the same prompts (clean, ablated), ``hidden`` is d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.models.device import attention_kernels
from cntbench.models.maps import Norm, RMSNorm
from cntbench.models.products import widened

#: Attention weights, or derivatives of them, that are held at once.
WEIGHTS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Queries:
    """Positions at which a block computes its states, if not at all of them.

    Parameters
    ----------
    context
        The normalised stream at all positions, for keys and values, dims ``run, prompt, position,
        hidden``.
    positions
        The positions, dims ``prompt, query``; one row if they are the same for all prompts.
    values
        The stream for values, if it differs from that for keys.
    """

    context: Tensor
    positions: Tensor
    values: Tensor | None = None

    def visible(self, runs: int, window: int | None = None) -> Tensor:
        """Return which keys each query sees, broadcastable to SDPA's mask."""
        key = torch.arange(self.context.shape[2], device=self.positions.device)
        query = self.positions[:, None, :, None]
        mask = key <= query
        if window is not None:
            mask &= key > query - window
        return mask if len(mask) == 1 else mask.repeat(runs, 1, 1, 1)


@dataclass(frozen=True)
class Attending:
    """Which keys a query sees, and the scores that become its attention weights.

    Parameters
    ----------
    window
        Number of last positions that a query sees, its own included; None for all of them (sliding
        window, Beltagy et al. 2020, arXiv 2004.05150).
    cap
        Scores s become cap · tanh(s / cap) (soft-capping, Gemma Team 2024, arXiv 2408.00118); None
        if they stay as they are.
    """

    window: int | None = None
    cap: float | None = None

    def mask(self, length: int, device: torch.device) -> Tensor | None:
        """Return which keys each query of a prompt sees; None if it sees all that are not later."""
        if self.window is None or length <= self.window:
            return None
        ones = torch.ones(length, length, dtype=torch.bool, device=device)
        return ones.tril() & ones.triu(1 - self.window)

    def scores(self, query: Tensor, key: Tensor, scale: float = 1.0) -> Tensor:
        """Return capped inner products, −∞ for keys that are not seen, dims ``…, query, key``.

        Takes the queries and keys of all positions, and what the products are multiplied by.
        """
        scores = query @ key.mT
        scores = self.capped(scores if scale == 1 else scores * scale)
        mask = self.mask(scores.shape[-1], scores.device)
        if mask is None:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            return scores.masked_fill_(later, float("-inf"))
        return scores.masked_fill_(~mask, float("-inf"))

    def capped(self, scores: Tensor) -> Tensor:
        """Return the scores after the cap."""
        return scores if self.cap is None else self.cap * torch.tanh(scores / self.cap)

    def slope(self, query: Tensor, key: Tensor) -> Tensor | float:
        """Return the derivative of scores by the inner products of queries and keys."""
        return 1.0 if self.cap is None else 1 - torch.tanh(query @ key.mT / self.cap).square()

    def read(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Return z, dims ``batch, head, query, width``.

        Takes dims ``batch, head, position, width``, with fewer heads of keys and values if they
        are shared; without a mask every query sees the keys up to its own position.
        """
        scale, shared = value.shape[-1] ** -0.5, key.shape[1] < query.shape[1]
        # On the meta device only the shape counts, and the meter knows the public operator.
        if self.cap is None or query.is_meta:
            with attention_kernels(query):
                return F.scaled_dot_product_attention(
                    query,
                    key,
                    value,
                    attn_mask=mask,
                    is_causal=mask is None,
                    scale=scale,
                    enable_gqa=shared,
                )
        if shared:
            share = query.shape[1] // key.shape[1]
            key, value = (vectors.repeat_interleave(share, dim=1) for vectors in (key, value))
        if mask is None:
            mask = torch.ones(query.shape[2], key.shape[2], device=query.device).tril().bool()
        mask = mask.expand(len(query), -1, -1, -1) if mask.dim() == 4 else mask
        height = max(1, WEIGHTS_AT_ONCE // (query.shape[1:3].numel() * key.shape[2]))
        parts = []
        for start in range(0, len(query), height):
            some = slice(start, start + height)
            scores = self.capped(widened(query[some] @ key[some].mT) * scale)
            some_mask = mask[some] if mask.dim() == 4 else mask
            weights = scores.masked_fill(~some_mask, float("-inf")).softmax(dim=-1)
            parts.append(weights.to(value.dtype) @ value[some])
        return torch.cat(parts)


def applied(norm: Norm, stream: Tensor) -> Tensor:
    """Return the normalised stream."""
    return norm(stream)


@dataclass(frozen=True)
class InputNorms:
    """Norms of queries and keys, before positions are embedded (QK-norm).

    Source: Henry et al. 2020, "Query-key normalization for transformers" (arXiv 2010.04245).

    Parameters
    ----------
    query, key
        Their scales have the width of a head, if every head is normalised by itself, or that of all
        heads together.
    """

    query: RMSNorm
    key: RMSNorm

    def across(self, width: int) -> bool:
        """Return whether heads of a width are normalised together."""
        return any(len(_scale(norm)) != width for norm in (self.query, self.key))

    def __call__(
        self,
        projected: Tensor,
        queries: int,
        keys: int,
        norm: Callable[[Norm, Tensor], Tensor] = applied,
    ) -> Tensor:
        """Return the outputs of a projection with its queries and keys normalised.

        Takes the number of outputs that are queries, which come first, and keys, and how a norm is
        applied.
        """
        query, key, rest = _split(projected, queries, keys)
        normed = [_by_width(norm, self.query, query), _by_width(norm, self.key, key)]
        return torch.cat([*normed, rest], dim=-1)

    def derivative(self, projected: Tensor, change: Tensor, queries: int, keys: int) -> Tensor:
        """Return how the outputs change to first order with those of the projection."""
        pairs = zip(_split(projected, queries, keys), _split(change, queries, keys), strict=True)
        (query, by_query), (key, by_key), (_, rest) = pairs
        moved = [
            norm.derivative(*(vectors.unflatten(-1, (-1, len(_scale(norm)))) for vectors in pair))
            for norm, pair in ((self.query, (query, by_query)), (self.key, (key, by_key)))
        ]
        return torch.cat([*(vectors.flatten(-2) for vectors in moved), rest], dim=-1)


def _scale(norm: RMSNorm) -> Tensor:
    assert norm.scale is not None, "norms of queries and keys keep their scale"
    return norm.scale


def _split(projected: Tensor, queries: int, keys: int) -> tuple[Tensor, ...]:
    return projected.split((queries, keys, projected.shape[-1] - queries - keys), dim=-1)


def _by_width(norm: Callable[[Norm, Tensor], Tensor], of: RMSNorm, vectors: Tensor) -> Tensor:
    if not vectors.shape[-1]:
        return vectors
    return norm(of, vectors.unflatten(-1, (-1, len(_scale(of))))).flatten(-2)


@dataclass(frozen=True)
class Divisor:
    """What a norm after the heads of a layer divides the sum of their outputs by.

    A head's contribution is its share of the normalised sum: z W_O · scale / rms(Σ z W_O). So each
    head is a function of the stream that it reads, which gives z of all heads for the divisor. An
    ablation replaces the contribution of one head and leaves those of the others.

    Parameters
    ----------
    output
        W_O without the norm's scale, dims ``component, width, hidden``.
    epsilon
        Added to the mean square.
    """

    output: Tensor
    epsilon: float

    def inverse(self, z: Tensor) -> Tensor:
        """Return one over the divisor, dims ``…, 1, 1``; takes z, ``…, component, width``."""
        written = widened(z.flatten(-2) @ self.output.flatten(0, 1))
        square = written.square().mean(dim=-1, keepdim=True)
        return (square + self.epsilon).rsqrt().to(z.dtype).unsqueeze(-1)

    def divided(self, z: Tensor) -> Tensor:
        """Return z over the divisor."""
        return z * self.inverse(z)

    def derivative(self, z: Tensor, change: Tensor) -> Tensor:
        """Return how z over the divisor changes to first order with z."""
        weight = widened(self.output.flatten(0, 1))
        written, moved = (states.flatten(-2) @ weight for states in (z, change))
        inverse = (written.square().mean(dim=-1, keepdim=True) + self.epsilon).rsqrt()
        projection = (written * moved).mean(dim=-1, keepdim=True) * inverse.square()
        return (change - z * projection.unsqueeze(-1)) * inverse.unsqueeze(-1)
