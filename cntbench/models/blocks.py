"""Blocks, the heads of a layer or an MLP: what they read and write, and their parts.

`cntbench.models.decoder` defines a component's *state*. Dims: ``run`` counts versions of the same
prompts (clean, ablated), ``hidden`` is d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.models.maps import Linear
from cntbench.models.products import Activation, affine, wide, widened

#: Derivatives of attention weights that are held at once.
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

    def visible(self, runs: int) -> Tensor:
        """Return which keys each query sees, broadcastable to SDPA's mask."""
        key = torch.arange(self.context.shape[2], device=self.positions.device)
        mask = key <= self.positions[:, None, :, None]
        return mask if len(mask) == 1 else mask.repeat(runs, 1, 1, 1)


class Block(Protocol):
    """Components of a stage that are computed together."""

    @property
    def n_components(self) -> int:
        """Number of components: the number of heads, or 1."""
        ...

    @property
    def width(self) -> int:
        """Length of a component's state: d_head, or d_model."""
        ...

    @property
    def workspace(self) -> int:
        """Peak number of values held for each token of each run."""
        ...

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute states, dims ``run, prompt, position, component, width``.

        With ``queries``, ``normed`` holds only their positions.
        """
        ...

    def derivative(self, normed: Tensor, change: Tensor) -> Tensor:
        """Return how the states change to first order, dims as `states`.

        Takes what is read, dims ``prompt, position, hidden``, and its change, ``run`` first.
        """
        ...

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the block's whole output, biases included, to the residual stream, in place."""
        ...

    def contributions(self, changes: Tensor) -> Tensor:
        """Map changes of states to changes of the stream for each component.

        Takes dims ``prompt, position, component, width`` and returns ``component, prompt, position,
        hidden``.
        """
        ...

    def image(self, states: Tensor) -> Tensor:
        """Map states to vectors with the norms and inner products of their contributions."""
        ...


@dataclass(frozen=True)
class Attention:
    """The heads of a layer.

    Several heads may share a key and a value (grouped-query attention, Ainslie et al. 2023, arXiv
    2305.13245): head h reads those with index h // (heads / key_heads).

    Parameters
    ----------
    project
        Map to queries, keys and values, output dims ``(query | key | value, head, width)``. Queries
        and keys may be in any basis that preserves their inner products; one more output may
        follow, to make their number even.
    output
        W_O, dims ``component, width, hidden``.
    output_bias
        Added once for all heads and part of none of them, dims ``hidden``.
    geometry
        A matrix R for each head with R Rᵀ = W_O W_Oᵀ, dims ``component, width, rank``, so that
        ‖z R‖ = ‖z W_O‖; in single precision at least.
    key_heads
        Number of key heads, which is also that of value heads.
    rotate
        Applies the position embedding in place to vectors, dims ``run, prompt, position, head,
        width``, given their positions (dims ``prompt, position``; None for all positions). None if
        queries and keys do not depend on the position.
    """

    project: Linear
    output: Tensor
    output_bias: Tensor
    geometry: Tensor
    key_heads: int
    rotate: Callable[[Tensor, Tensor | None], object] | None = None

    @classmethod
    def make(
        cls,
        project: Linear,
        output: Tensor,
        output_bias: Tensor,
        *,
        key_heads: int | None = None,
        rotate: Callable[[Tensor, Tensor | None], object] | None = None,
    ) -> Attention:
        """Make a block, computing the geometry by a QR decomposition of W_Oᵀ.

        By default, every head has its own key head.
        """
        # W_Oᵀ = Q T, so z W_O = (z Tᵀ) Qᵀ, and the orthonormal Q preserves lengths and angles.
        triangular = torch.linalg.qr(output.double().mT, mode="r").R
        geometry = triangular.mT.to(wide(output.dtype)).contiguous()
        return cls(project, output, output_bias, geometry, key_heads or len(output), rotate)

    def with_geometry(self) -> Attention:
        """Return the block with the geometry recomputed from its output."""
        weights = self.project, self.output, self.output_bias
        return self.make(*weights, key_heads=self.key_heads, rotate=self.rotate)

    @property
    def n_components(self) -> int:
        """Number of heads."""
        return self.output.shape[0]

    @property
    def width(self) -> int:
        """Length of z: d_head."""
        return self.output.shape[1]

    @property
    def workspace(self) -> int:
        """Queries, keys, values, z and its image."""
        return len(self.project.weight) + 2 * self.n_components * self.width

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Total width of the queries, the keys and the values of a token."""
        values = self.key_heads * self.width
        width = (len(self.project.weight) - values) // (self.n_components + self.key_heads)
        return self.n_components * width, self.key_heads * width, values

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute z."""
        q, k, v = self.lengths
        if queries is None:
            projected = self.project(normed)
            self._turn(projected, q + k, None)
            query, key, value = projected[..., : q + k + v].split((q, k, v), dim=-1)
            mask = None
        else:
            # Rotated before the split: parts of a split cannot be differentiated in place.
            query = self.project.rows(slice(q))(normed)
            self._turn(query, q, queries.positions)
            context = self.project.rows(slice(q, None))(queries.context)
            self._turn(context, k, None)
            key, value = context[..., : k + v].split((k, v), dim=-1)
            if queries.values is not None:
                value = self.project.rows(slice(q + k, None))(queries.values)[..., :v]
            mask = queries.visible(len(normed))
        z = F.scaled_dot_product_attention(
            self._heads(query, self.n_components),
            self._heads(key, self.key_heads),
            self._heads(value, self.key_heads),
            attn_mask=mask,
            is_causal=mask is None,
            scale=self.width**-0.5,
            enable_gqa=self.key_heads < self.n_components,
        )
        return z.transpose(1, 2).unflatten(0, normed.shape[:2])

    def states_apart(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Compute z where every head reads normalised streams of its own.

        Takes the streams for queries, keys and values, dims ``run, component, prompt, position,
        hidden``. Returns dims as `states`.
        """
        runs, projected = (query.shape[0], query.shape[2]), self._parts_apart(query, key, value)
        queries, keys, values = (vectors.flatten(0, 1).transpose(1, 2) for vectors in projected)
        z = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=True, scale=self.width**-0.5
        )
        return z.transpose(1, 2).unflatten(0, runs)

    def _parts_apart(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Map streams to queries, keys and values, dims ``run, prompt, position, head, width``."""
        q, k, v = self.lengths
        parts = (
            (query, slice(q), self.n_components),
            (key, slice(q, q + k), self.key_heads),
            (value, slice(q + k, q + k + v), self.key_heads),
        )
        projected = [
            self._project_apart(stream, self.project.rows(rows), heads)
            for stream, rows, heads in parts
        ]
        if self.rotate is not None:
            for vectors in projected[:2]:
                self.rotate(vectors, None)
        return projected

    def _project_apart(self, stream: Tensor, part: Linear, heads: int) -> Tensor:
        """Map each head's stream by its own rows, dims ``run, prompt, position, head, width``."""
        width = len(part.weight) // heads
        weight, bias = part.weight.unflatten(0, (heads, width)), part.bias.view(heads, width)
        share = self.n_components // heads
        weight, bias = (rows.repeat_interleave(share, dim=0) for rows in (weight, bias))
        return torch.einsum("rcbph,cwh->rbpcw", stream, weight).contiguous().add_(bias)

    def _turn(self, projected: Tensor, length: int, positions: Tensor | None) -> None:
        """Apply the position embedding to the first ``length`` outputs of each token."""
        if self.rotate is not None:
            width = self.lengths[1] // self.key_heads
            self.rotate(projected[..., :length].unflatten(-1, (-1, width)), positions)

    def _heads(self, vectors: Tensor, heads: int) -> Tensor:
        """Split ``run, prompt, position, …`` by head: ``run × prompt, head, position, …``."""
        return vectors.unflatten(-1, (heads, -1)).flatten(0, 1).transpose(1, 2)

    def parts(self, normed: Tensor, *, bias: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values, dims ``run, prompt, component, position, width``.

        In single precision at least. Inner products of queries and keys are the attention scores.
        """
        lengths, heads = self.lengths, (self.n_components, self.key_heads, self.key_heads)
        weight, offset = self.project.weight, self.project.bias
        projected = affine(normed, weight, offset if bias else torch.zeros_like(offset))
        self._turn(projected, lengths[0] + lengths[1], None)
        query, key, value = (
            self._heads(part, count)
            .unflatten(0, normed.shape[:2])
            .repeat_interleave(self.n_components // count, dim=2)
            for part, count in zip(
                widened(projected[..., : sum(lengths)]).split(lengths, dim=-1), heads, strict=True
            )
        )
        return query * self.width**-0.5, key, value

    def own_parts(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the query, key and value of each head from a stream that it alone reads.

        Takes dims ``component, prompt, position, hidden`` and returns ``component, prompt,
        position, width``, otherwise as `parts`.
        """
        parts = self._parts_apart(*3 * [normed[None]])
        query, key, value = (widened(part[0]).movedim(-2, 0) for part in parts)
        return query * self.width**-0.5, key, value

    def derivative(self, normed: Tensor, change: Tensor) -> Tensor:
        """Return how z changes to first order.

        Takes what is read, dims ``prompt, position, hidden``, and its change, ``run`` first.
        Returns dims as `states`, in single precision at least.
        """
        (query, key, value), weights, found = self.parts(normed[None]), self.pattern(normed), []
        for some in change.split(max(1, WEIGHTS_AT_ONCE // weights.numel())):
            by_query, by_key, by_value = self.parts(some, bias=False)
            slopes = weights * (by_query @ key.mT + query @ by_key.mT)
            slopes = slopes - weights * slopes.sum(dim=-1, keepdim=True)
            found.append((slopes @ value + weights @ by_value).transpose(2, 3))
        return torch.cat(found)

    def pattern(self, normed: Tensor) -> Tensor:
        """Compute attention weights, dims ``prompt, component, query position, key position``.

        Takes a single run, dims ``prompt, position, hidden``.
        """
        q, k, _ = self.lengths
        projected = self.project.rows(slice(q + k))(normed[None])
        self._turn(projected, q + k, None)
        query, key = widened(projected).split((q, k), dim=-1)
        query = self._heads(query, self.n_components).unflatten(1, (self.key_heads, -1))
        scores = query @ self._heads(key, self.key_heads).mT.unsqueeze(2) * self.width**-0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.flatten(1, 2).masked_fill_(future, float("-inf")).softmax(dim=-1)

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the heads' contributions and the output bias to the stream."""
        stream += affine(states.flatten(-2), self.output.flatten(0, 1).mT, self.output_bias)

    def contributions(self, changes: Tensor) -> Tensor:
        """Map changes of z through W_O."""
        by_head = changes.movedim(-2, 0)
        return (by_head.flatten(1, -2) @ self.output).unflatten(1, by_head.shape[1:-1])

    def image(self, states: Tensor) -> Tensor:
        """Map z through R, in single precision at least."""
        # Head by head: batched products round equal rows differently on some processors.
        bias = self.geometry.new_zeros(self.geometry.shape[-1])
        by_head = zip(widened(states).unbind(-2), self.geometry, strict=True)
        return torch.stack([affine(z, matrix.mT, bias) for z, matrix in by_head], dim=-2)


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron: one component.

    Its hidden units are activation(inner(x)), or activation(gate(x)) · inner(x) with a gate, as in
    SwiGLU (Shazeer 2020, arXiv 2002.05202).

    Parameters
    ----------
    inner, outer
        The maps to and from the hidden units.
    activation
        Applied to the hidden units or to the gate.
    gate
        Another map to the hidden units; None if there is no gate.
    """

    inner: Linear
    outer: Linear
    activation: Activation
    gate: Linear | None = None

    @property
    def n_components(self) -> int:
        """One."""
        return 1

    @property
    def width(self) -> int:
        """The whole output: d_model."""
        return self.outer.weight.shape[0]

    @property
    def workspace(self) -> int:
        """Hidden units before and after the activation or gate, and the output with its change."""
        return 2 * self.inner.weight.shape[0] + 3 * self.width

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute the output."""
        return self.outer(self._hidden(normed)).unsqueeze(-2)

    def _hidden(self, normed: Tensor) -> Tensor:
        if self.gate is None:
            return self.inner.then(self.activation, normed)
        gate = self.gate.then(self.activation, normed)
        return self.inner(normed).mul_(gate)

    def derivative(self, normed: Tensor, change: Tensor) -> Tensor:
        """Return how the output changes to first order; see `Attention.derivative`."""
        inner = F.linear(change, self.inner.weight)
        if self.gate is None:
            moved = inner * self.activation.slope(self.inner(normed))
        else:
            gate = self.gate(normed)
            by_gate = F.linear(change, self.gate.weight) * self.activation.slope(gate)
            moved = inner * self.activation(gate) + by_gate * self.inner(normed)
        return widened(F.linear(moved, self.outer.weight)).unsqueeze(-2)

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the output to the stream."""
        stream += states.squeeze(-2)

    def contributions(self, changes: Tensor) -> Tensor:
        """Return the changes themselves."""
        return changes.movedim(-2, 0)

    def image(self, states: Tensor) -> Tensor:
        """Return the states themselves, in single precision at least."""
        return widened(states)
