"""A mixture of experts, which sends each token to a few of its MLPs: one component, or several.

Source: Shazeer et al. 2017, "Outrageously large neural networks" (arXiv 1701.06538).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.models.feed_forward import MLP, WholeOutput
from cntbench.models.heads import Queries
from cntbench.models.maps import Linear
from cntbench.models.products import widened


@dataclass(frozen=True)
class Experts(WholeOutput):
    """Σ_e w_e · expert_e(x) over the experts with the largest probabilities.

    Parameters
    ----------
    router
        The map to one score for each expert; the softmax of the scores gives probabilities.
    experts
        MLPs of one shape, without norms after them.
    top
        Number of experts that a token is sent to.
    normalised
        Whether the weights w are the probabilities over their sum, or the probabilities themselves.
    apart
        Whether each expert is a component: what it contributes is w_e · expert_e(x) for the tokens
        that are sent to it, and zero for others. Otherwise the sum is one component.
    """

    router: Linear
    experts: tuple[MLP, ...]
    top: int
    normalised: bool
    apart: bool = False

    @property
    def n_components(self) -> int:
        """One, or the number of experts."""
        return len(self.experts) if self.apart else 1

    @property
    def width(self) -> int:
        """The whole output: d_model."""
        return self.experts[0].width

    @property
    def workspace(self) -> int:
        """What the experts of a token hold, its scores, and the outputs, their image and change."""
        outputs = 3 * self.n_components if self.apart else 1
        return self.top * self.experts[0].workspace + 2 * len(self.experts) + outputs * self.width

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute the output, or what each expert contributes to it."""
        rows, count = normed.flatten(0, -2), self.n_components
        weights, chosen = self._weights(rows)
        output = rows.new_zeros(len(rows) * count, self.width)
        for number, row, rank in self._sent(chosen):
            part = self.experts[number].states(rows[row]).squeeze(-2) * weights[row, rank, None]
            output.index_add_(0, self._into(row, number), part.to(output.dtype))
        return output.view(*normed.shape[:-1], count, -1)

    def states_apart(self, normed: Tensor) -> Tensor:
        """Compute states where every component reads a normalised stream of its own.

        The router sends an expert those tokens of its stream that would be sent to it if all read
        that stream. Takes dims ``run, component, prompt, position, hidden``; returns dims as
        `states`.
        """
        if not self.apart:
            return self.states(normed[:, 0])
        streams = normed.movedim(1, 0)
        rows = streams.flatten(1, -2)
        weights, chosen = self._weights(rows)
        output = rows.new_zeros(rows.shape[:2].numel(), self.width)
        for number, row, rank in self._sent(chosen[0] if rows.is_meta else chosen):
            part = self.experts[number].states(rows[number, row]).squeeze(-2)
            part = part * weights[number, row, rank, None]
            output.index_add_(0, number * rows.shape[1] + row, part.to(output.dtype))
        return output.view(*streams.shape[:-1], -1).movedim(0, -2)

    def _weights(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and experts of each row, dims ``…, rank``."""
        shares, chosen = widened(self.router(rows)).softmax(dim=-1).topk(self.top, dim=-1)
        if self.normalised:
            shares = shares / shares.sum(dim=-1, keepdim=True)
        return shares.to(rows.dtype), chosen

    def _sent(self, chosen: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """Return the experts that rows are sent to, with the rows and their ranks.

        Takes the experts of each row, dims ``row, rank``; with ``expert`` first, each expert is
        sent rows of its own.
        """
        if chosen.is_meta:  # without numbers, how many rows are sent is known, not to which expert
            row, rank = (torch.arange(size, device="meta") for size in chosen.shape)
            return [(0, row.repeat_interleave(self.top), rank.repeat(len(row)))]
        sent = []
        for number in range(len(self.experts)):
            row, rank = torch.where((chosen if chosen.dim() == 2 else chosen[number]) == number)
            if len(row):
                sent.append((number, row, rank))
        return sent

    def _into(self, row: Tensor, number: int) -> Tensor:
        """Return where an expert's part of rows belongs among all rows × components."""
        return row * self.n_components + number if self.apart else row

    def derivative(self, normed: Tensor, change: Tensor) -> Tensor:
        """Return how the output changes to first order; see `Attention.derivative`.

        Assumes that every token is still sent to the same experts.
        """
        rows, moved = normed.flatten(0, -2), change.flatten(1, -2)
        probabilities = widened(self.router(rows)).softmax(dim=-1)
        by_score = widened(F.linear(moved, self.router.weight))
        of_all = probabilities * by_score
        slopes = of_all - probabilities * of_all.sum(dim=-1, keepdim=True)
        shares, chosen = probabilities.topk(self.top, dim=-1)
        slopes = slopes.gather(-1, chosen.expand(len(moved), -1, -1))
        if self.normalised:
            total = shares.sum(dim=-1, keepdim=True)
            shares = shares / total
            slopes = (slopes - shares * slopes.sum(dim=-1, keepdim=True)) / total
        output = widened(moved.new_zeros(len(moved), len(rows) * self.n_components, self.width))
        for number, row, rank in self._sent(chosen):
            expert = self.experts[number]
            value = expert.states(rows[row]).squeeze(-2)
            part = expert.derivative(rows[row], moved[:, row]).squeeze(-2)
            part = part * shares[row, rank, None] + value * slopes[:, row, rank, None]
            output.index_add_(1, self._into(row, number), part.to(output.dtype))
        return output.view(*change.shape[:-1], self.n_components, -1)

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the output to the stream."""
        stream += states.sum(dim=-2) if self.apart else states.squeeze(-2)
