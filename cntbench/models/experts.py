"""A mixture of experts: one component that sends each token to a few of its MLPs.

Source: Shazeer et al. 2017, "Outrageously large neural networks" (arXiv 1701.06538).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cntbench.models.feed_forward import MLP
from cntbench.models.heads import Queries
from cntbench.models.maps import Linear
from cntbench.models.products import widened


@dataclass(frozen=True)
class Experts:
    """Σ_e w_e · expert_e(x) over the experts with the largest probabilities.

    Parameters
    ----------
    router
        The map to one score for each expert; the softmax of the scores gives probabilities.
    experts
        MLPs of one shape, without norms behind them.
    top
        Number of experts that a token is sent to.
    normalised
        Whether the weights w are the probabilities over their sum, or the probabilities themselves.
    """

    router: Linear
    experts: tuple[MLP, ...]
    top: int
    normalised: bool

    @property
    def n_components(self) -> int:
        """One."""
        return 1

    @property
    def width(self) -> int:
        """The whole output: d_model."""
        return self.experts[0].width

    @property
    def workspace(self) -> int:
        """What the experts of a token hold, its scores, and the output."""
        return self.top * self.experts[0].workspace + 2 * len(self.experts) + self.width

    def states(self, normed: Tensor, queries: Queries | None = None) -> Tensor:
        """Compute the output."""
        rows = normed.flatten(0, -2)
        weights, chosen = self._weights(rows)
        if rows.is_meta:  # which experts are chosen takes numbers; how many rows they get does not
            sent = rows.repeat_interleave(self.top, dim=0)
            return self.experts[0].states(sent)[:: self.top].view(*normed.shape[:-1], 1, -1)
        output = torch.zeros_like(rows)
        for expert, row, rank in self._sent(chosen):
            part = expert.states(rows[row]).squeeze(-2) * weights[row, rank, None]
            output.index_add_(0, row, part.to(output.dtype))
        return output.view_as(normed).unsqueeze(-2)

    def _weights(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights and experts of each row, dims ``row, rank``."""
        shares, chosen = widened(self.router(rows)).softmax(dim=-1).topk(self.top, dim=-1)
        if self.normalised:
            shares = shares / shares.sum(dim=-1, keepdim=True)
        return shares.to(rows.dtype), chosen

    def _sent(self, chosen: Tensor) -> list[tuple[MLP, Tensor, Tensor]]:
        """Return the experts that rows are sent to, with the rows and their ranks."""
        sent = []
        for number, expert in enumerate(self.experts):
            row, rank = torch.where(chosen == number)
            if len(row):
                sent.append((expert, row, rank))
        return sent

    def derivative(self, normed: Tensor, change: Tensor) -> Tensor:
        """Return how the output changes to first order; see `Attention.derivative`.

        Where no expert takes the place of another.
        """
        rows, moved = normed.flatten(0, -2), change.flatten(1, -2)
        if rows.is_meta:
            sent = [of.repeat_interleave(self.top, dim=-2) for of in (rows, moved)]
            found = self.experts[0].derivative(*sent)[:, :: self.top]
            return found.view(*change.shape[:-1], 1, -1)
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
        output = widened(torch.zeros_like(moved))
        for expert, row, rank in self._sent(chosen):
            value = expert.states(rows[row]).squeeze(-2)
            part = expert.derivative(rows[row], moved[:, row]).squeeze(-2)
            part = part * shares[row, rank, None] + value * slopes[:, row, rank, None]
            output.index_add_(1, row, part.to(output.dtype))
        return output.view(*change.shape[:-1], 1, -1)

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the output to the stream."""
        stream += states.squeeze(-2)

    def contributions(self, changes: Tensor) -> Tensor:
        """Return the changes themselves."""
        return changes.movedim(-2, 0)

    def image(self, states: Tensor) -> Tensor:
        """Return the states themselves, in single precision at least."""
        return widened(states)
