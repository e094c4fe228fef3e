"""Blocks, the heads of a layer or an MLP: what they read and write; and the heads of a layer.

`cntbench.models.decoder` defines a component's *state*. Dims: ``run`` counts versions of the same
prompts (clean, ablated), ``hidden`` is d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from cntbench.models.heads import WEIGHTS_AT_ONCE, Attending, Divisor, InputNorms, Queries, applied
from cntbench.models.maps import Linear, Norm, RMSNorm
from cntbench.models.products import affine, wide, widened


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
    attending
        Which keys queries see, and what becomes of scores.
    norms
        Norms of queries and keys; None if there are none.
    divisor
        The divisor of a norm after the heads, whose scale W_O then has; None if there is none.
    """

    project: Linear
    output: Tensor
    output_bias: Tensor
    geometry: Tensor
    key_heads: int
    rotate: Callable[[Tensor, Tensor | None], object] | None = None
    attending: Attending = field(default_factory=Attending)
    norms: InputNorms | None = None
    divisor: Divisor | None = None

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
        geometry = _geometry(output)
        return cls(project, output, output_bias, geometry, key_heads or len(output), rotate)

    def with_geometry(self) -> Attention:
        """Return the block with the geometry recomputed from its output."""
        return replace(self, geometry=_geometry(self.output))

    def before(self, norm: RMSNorm) -> Attention:
        """Return the heads with a norm between them and the stream; they have no output bias."""
        output = self.output if norm.scale is None else self.output * norm.scale
        divisor = Divisor(self.output, norm.epsilon)
        return replace(self, output=output, divisor=divisor).with_geometry()

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
        """Compute z, over the divisor if there is one."""
        q, k, v = self.lengths
        if queries is None:
            projected = self._turned(self.project(normed), q, k, None)
            query, key, value = projected[..., : q + k + v].split((q, k, v), dim=-1)
            mask = self.attending.mask(normed.shape[2], normed.device)
        else:
            # Rotated before the split: parts of a split cannot be differentiated in place.
            query = self.project.rows(slice(q))(normed)
            query = self._turned(query, q, 0, queries.positions)
            context = self.project.rows(slice(q, None))(queries.context)
            context = self._turned(context, 0, k, None)
            key, value = context[..., : k + v].split((k, v), dim=-1)
            if queries.values is not None:
                value = self.project.rows(slice(q + k, None))(queries.values)[..., :v]
            mask = queries.visible(len(normed), self.attending.window)
        z = self.attending.read(
            self._heads(query, self.n_components),
            self._heads(key, self.key_heads),
            self._heads(value, self.key_heads),
            mask,
        )
        z = z.transpose(1, 2).unflatten(0, normed.shape[:2])
        return z if self.divisor is None else self.divisor.divided(z)

    @property
    def joint(self) -> bool:
        """Whether a head's state depends on other heads that read the same stream."""
        return self.divisor is not None or (
            self.norms is not None and self.norms.across(self._input_width)
        )

    @property
    def _input_width(self) -> int:
        """Width of a query and of a key."""
        return self.lengths[1] // self.key_heads

    def states_apart(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Compute z where every head reads normalised streams of its own.

        Takes the streams for queries, keys and values, dims ``run, component, prompt, position,
        hidden``. Returns dims as `states`.
        """
        runs = query.shape[0], query.shape[2]
        if self.joint:
            everywhere = torch.arange(query.shape[3], device=query.device)[None]
            inputs = Queries(key.flatten(0, 1), everywhere, value.flatten(0, 1))
            together = self.states(query.flatten(0, 1), inputs).unflatten(0, query.shape[:2])
            return together.diagonal(dim1=1, dim2=4).movedim(-1, -2)
        projected = self._parts_apart(query, key, value)
        queries, keys, values = (vectors.flatten(0, 1).transpose(1, 2) for vectors in projected)
        mask = self.attending.mask(query.shape[3], query.device)
        z = self.attending.read(queries, keys, values, mask)
        return z.transpose(1, 2).unflatten(0, runs)

    def _parts_apart(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        norm: Callable[[Norm, Tensor], Tensor] = applied,
    ) -> list[Tensor]:
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
        if self.norms is not None:
            projected[0] = norm(self.norms.query, projected[0])
            projected[1] = norm(self.norms.key, projected[1])
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

    def _turned(
        self,
        projected: Tensor,
        queries: int,
        keys: int,
        positions: Tensor | None,
        norm: Callable[[Norm, Tensor], Tensor] = applied,
    ) -> Tensor:
        """Apply norms and the position embedding to the first outputs: queries, then keys."""
        if self.norms is not None:
            projected = self.norms(projected, queries, keys, norm)
        return self._rotated(projected, queries + keys, positions)

    def _rotated(self, projected: Tensor, length: int, positions: Tensor | None) -> Tensor:
        """Apply the position embedding in place to the first outputs of each token."""
        if self.rotate is not None:
            width = self._input_width
            self.rotate(projected[..., :length].unflatten(-1, (-1, width)), positions)
        return projected

    def _heads(self, vectors: Tensor, heads: int) -> Tensor:
        """Split ``run, prompt, position, …`` by head: ``run × prompt, head, position, …``."""
        return vectors.unflatten(-1, (heads, -1)).flatten(0, 1).transpose(1, 2)

    def parts(
        self, normed: Tensor, norm: Callable[[Norm, Tensor], Tensor] = applied
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values, dims ``run, prompt, component, position, width``.

        In single precision at least. Inner products of queries and keys are the attention scores,
        before a cap. Takes how a norm of queries and keys is applied.
        """
        q, k, _ = self.lengths
        projected = affine(normed, self.project.weight, self.project.bias)
        return self._by_kind(self._turned(projected, q, k, None, norm))

    def _changes_of_parts(self, normed: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return how queries, keys and values change to first order; see `derivative`."""
        (q, k, _), weight, bias = self.lengths, self.project.weight, self.project.bias
        projected = affine(change, weight, torch.zeros_like(bias))
        if self.norms is not None:
            projected = self.norms.derivative(affine(normed, weight, bias), projected, q, k)
        return self._by_kind(self._rotated(projected, q + k, None))

    def _by_kind(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split the outputs of the projection, and repeat keys and values that heads share."""
        lengths, heads = self.lengths, (self.n_components, self.key_heads, self.key_heads)
        query, key, value = (
            self._heads(part, count)
            .unflatten(0, projected.shape[:2])
            .repeat_interleave(self.n_components // count, dim=2)
            for part, count in zip(
                widened(projected[..., : sum(lengths)]).split(lengths, dim=-1), heads, strict=True
            )
        )
        return query * self.width**-0.5, key, value

    def own_parts(
        self, normed: Tensor, norm: Callable[[Norm, Tensor], Tensor] = applied
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the query, key and value of each head from a stream that it alone reads.

        Takes dims ``component, prompt, position, hidden`` and returns ``component, prompt,
        position, width``, otherwise as `parts`.
        """
        if self.joint:
            query, key, value = (
                part.diagonal(dim1=0, dim2=2).movedim(-1, 0) for part in self.parts(normed, norm)
            )
            return query, key, value
        stream = normed[None]
        parts = self._parts_apart(stream, stream, stream, norm)
        query, key, value = (widened(part[0]).movedim(-2, 0) for part in parts)
        return query * self.width**-0.5, key, value

    def derivative(self, normed: Tensor, change: Tensor) -> Tensor:
        """Return how z, over the divisor if there is one, changes to first order.

        Takes what is read, dims ``prompt, position, hidden``, and its change, ``run`` first.
        Returns dims as `states`, in single precision at least.
        """
        (query, key, value), weights, changes = self.parts(normed[None]), self.pattern(normed), []
        of_scores = self.attending.slope(query, key)
        for runs in change.split(max(1, WEIGHTS_AT_ONCE // weights.numel())):
            by_query, by_key, by_value = self._changes_of_parts(normed[None], runs)
            slopes = weights * (of_scores * (by_query @ key.mT + query @ by_key.mT))
            slopes = slopes - weights * slopes.sum(dim=-1, keepdim=True)
            moved = (slopes @ value + weights @ by_value).transpose(2, 3)
            if self.divisor is not None:
                moved = self.divisor.derivative((weights @ value).transpose(2, 3), moved)
            changes.append(moved)
        return torch.cat(changes)

    def pattern(self, normed: Tensor) -> Tensor:
        """Compute attention weights, dims ``prompt, component, query position, key position``.

        Takes a single run, dims ``prompt, position, hidden``.
        """
        q, k, _ = self.lengths
        projected = self._turned(self.project.rows(slice(q + k))(normed[None]), q, k, None)
        query, key = widened(projected).split((q, k), dim=-1)
        query = self._heads(query, self.n_components).unflatten(1, (self.key_heads, -1))
        key = self._heads(key, self.key_heads).unsqueeze(2)
        scores = self.attending.scores(query, key, self.width**-0.5)
        return scores.flatten(1, 2).softmax(dim=-1)

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


def _geometry(output: Tensor) -> Tensor:
    """Return R for each head from W_O; see `Attention`."""
    # W_Oᵀ = Q T, so z W_O = (z Tᵀ) Qᵀ, and the orthonormal Q preserves lengths and angles.
    triangular = torch.linalg.qr(output.double().mT, mode="r").R
    return triangular.mT.to(wide(output.dtype)).contiguous()
