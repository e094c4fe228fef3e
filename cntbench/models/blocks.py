"""Blocks: the heads of a layer, an MLP; what they read, what they write, and their parts.

`cntbench.models.decoder` says what a component's *state* is. Dims: ``run`` counts versions of the
same prompts (clean, ablated), ``hidden`` is d_model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.models.products import Activation, affine


@dataclass(frozen=True)
class LayerNorm:
    """Standardisation to mean 0 and variance 1, then a scale and a shift.

    Parameters
    ----------
    epsilon
        Added to the variance.
    scale, shift
        Dims ``hidden``; None where they are folded into what reads the stream.
    """

    epsilon: float
    scale: Tensor | None = None
    shift: Tensor | None = None

    def __call__(self, stream: Tensor) -> Tensor:
        """Return the normalised stream, dims ``run, prompt, position, hidden``."""
        return F.layer_norm(stream, stream.shape[-1:], self.scale, self.shift, self.epsilon)


@dataclass(frozen=True)
class Linear:
    """An affine map.

    Parameters
    ----------
    weight, bias
        Dims ``output, hidden`` and ``output``.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def folded(cls, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> Linear:
        """Return ``weight @ (scale * x + shift) + bias`` as one affine map of x."""
        return cls((weight * scale).contiguous(), bias + weight @ shift)

    def __call__(self, stream: Tensor) -> Tensor:
        """Apply the map to the last dim."""
        return affine(stream, self.weight, self.bias)

    def then(self, activation: Activation, stream: Tensor) -> Tensor:
        """Apply the map to the last dim, and the activation to what it gives."""
        return affine(stream, self.weight, self.bias, activation)

    def rows(self, chosen: slice) -> Linear:
        """Return the map to some of the outputs."""
        return Linear(self.weight[chosen], self.bias[chosen])


@dataclass(frozen=True)
class Queries:
    """Where a block is asked for its states, if not at every position.

    Parameters
    ----------
    context
        The normalised stream at all positions, which keys and values are made of, dims ``run,
        prompt, position, hidden``.
    positions
        The positions asked for, dims ``prompt, query``; one row if all prompts have the same.
    values
        What values are made of, if not of the same stream as keys.
    """

    context: Tensor
    positions: Tensor
    values: Tensor | None = None

    def visible(self, runs: int) -> Tensor:
        """Return which keys each query sees, in a shape that broadcasts to SDPA's mask."""
        key = torch.arange(self.context.shape[2], device=self.positions.device)
        mask = key <= self.positions[:, None, :, None]
        return mask if len(mask) == 1 else mask.repeat(runs, 1, 1, 1)


class Block(Protocol):
    """Components of one stage that are computed together."""

    @property
    def n_components(self) -> int:
        """Number of components: the heads, or 1."""
        ...

    @property
    def width(self) -> int:
        """Length of a component's state: d_head, or d_model."""
        ...

    @property
    def workspace(self) -> int:
        """Numbers held at once for each token of each run, at the peak."""
        ...

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute states, dims ``run, prompt, position, component, width``.

        With ``queries``, ``normed`` holds the positions asked for only.
        """
        ...

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the block's whole output, biases included, to the residual stream, in place."""
        ...

    def contributions(self, changes: Tensor) -> Tensor:
        """Map changes of states to changes of the stream, component by component.

        Takes ``prompt, position, component, width``, returns ``component, prompt, position,
        hidden``.
        """
        ...

    def image(self, states: Tensor) -> Tensor:
        """Map states to vectors with the norms and inner products of their contributions."""
        ...


@dataclass(frozen=True)
class Attention:
    """The heads of a layer.

    Parameters
    ----------
    project
        To queries, keys and values, output dims ``(query | key | value, component, width)``.
        Queries and keys may come in any basis that keeps their inner products, and
        one output more may follow, to make their number even.
    output
        W_O, dims ``component, width, hidden``.
    output_bias
        Added once for all heads; belongs to none of them. Dims ``hidden``.
    rotate
        Applies the position embedding, in place, to vectors with dims ``run, prompt, position,
        component, width``, given their positions (dims ``prompt, position``; None for all).
    geometry
        For each head a matrix R with R Rᵀ = W_O W_Oᵀ, dims ``component, width, rank``, so that
        ‖z R‖ = ‖z W_O‖.
    """

    project: Linear
    output: Tensor
    output_bias: Tensor
    rotate: Callable[[Tensor, Tensor | None], object]
    geometry: Tensor

    @classmethod
    def make(
        cls,
        project: Linear,
        output: Tensor,
        output_bias: Tensor,
        rotate: Callable[[Tensor, Tensor | None], object],
    ) -> Attention:
        """Return the block, computing the geometry by a QR decomposition of W_Oᵀ."""
        # W_Oᵀ = Q T, so z W_O = (z Tᵀ) Qᵀ, and the orthonormal Q keeps lengths and angles.
        triangular = torch.linalg.qr(output.double().mT, mode="r").R
        geometry = triangular.mT.to(output.dtype).contiguous()
        return cls(project, output, output_bias, rotate, geometry)

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
        """Queries, keys and values, and z with its image."""
        return len(self.project.weight) + 2 * self.n_components * self.width

    @property
    def _asked(self) -> int:
        """Length of all heads' queries, or of their keys."""
        return (len(self.project.weight) - self.n_components * self.width) // 2

    def _split(self, projected: Tensor, *lengths: int) -> list[Tensor]:
        """Cut into parts of the given lengths, and each into components."""
        parts = projected[..., : sum(lengths)].split(lengths, dim=-1)
        return [part.unflatten(-1, (self.n_components, -1)) for part in parts]

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute z."""
        n, heads = self._asked, self.n_components
        v = heads * self.width
        if queries is None:
            projected = self.project(normed)
            self.rotate(projected[..., : 2 * n].unflatten(-1, (2 * heads, -1)), None)
            query, key, value = self._split(projected, n, n, v)
            mask = None
        else:
            # Turned before they are split: parts of a split may not be differentiated in place.
            query = self.project.rows(slice(n))(normed).unflatten(-1, (heads, -1))
            context = self.project.rows(slice(n, None))(queries.context)
            self.rotate(query, queries.positions)
            self.rotate(context[..., :n].unflatten(-1, (heads, -1)), None)
            key, value = self._split(context, n, v)
            if queries.values is not None:
                (value,) = self._split(self.project.rows(slice(2 * n, None))(queries.values), v)
            mask = queries.visible(len(normed))
        z = F.scaled_dot_product_attention(
            query.flatten(0, 1).transpose(1, 2),
            key.flatten(0, 1).transpose(1, 2),
            value.flatten(0, 1).transpose(1, 2),
            attn_mask=mask,
            is_causal=mask is None,
            scale=self.width**-0.5,
        )
        return z.transpose(1, 2).unflatten(0, normed.shape[:2])

    def pattern(self, normed: Tensor) -> Tensor:
        """Compute attention weights, dims ``prompt, component, query position, key position``.

        Takes one run only, dims ``prompt, position, hidden``.
        """
        n = 2 * self._asked
        both = self.project.rows(slice(n))(normed)
        both = both.unflatten(-1, (2 * self.n_components, -1))
        self.rotate(both.unsqueeze(0), None)
        query, key = both.transpose(1, 2).chunk(2, dim=1)
        scores = query @ key.mT * self.width**-0.5
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        return scores.masked_fill_(future, float("-inf")).softmax(dim=-1)

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the heads' contributions and the output bias to the stream."""
        stream += affine(states.flatten(-2), self.output.flatten(0, 1).mT, self.output_bias)

    def contributions(self, changes: Tensor) -> Tensor:
        """Map changes of z through W_O."""
        by_head = changes.movedim(-2, 0)
        return (by_head.flatten(1, -2) @ self.output).unflatten(1, by_head.shape[1:-1])

    def image(self, states: Tensor) -> Tensor:
        """Map z through R."""
        rows = states.flatten(0, -3).transpose(0, 1)
        image = (rows @ self.geometry).transpose(0, 1)
        return image.unflatten(0, states.shape[:-2])


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron: one component.

    Parameters
    ----------
    inner, outer
        The maps to and from the hidden units.
    activation
        Applied to the hidden units.
    """

    inner: Linear
    outer: Linear
    activation: Activation

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
        """Hidden units before and after the activation, and the output with its change."""
        return 2 * self.inner.weight.shape[0] + 3 * self.width

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute the output."""
        return self.outer(self.inner.then(self.activation, normed)).unsqueeze(-2)

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the output to the stream."""
        stream += states.squeeze(-2)

    def contributions(self, changes: Tensor) -> Tensor:
        """Return the changes themselves."""
        return changes.movedim(-2, 0)

    def image(self, states: Tensor) -> Tensor:
        """Return the states themselves."""
        return states
