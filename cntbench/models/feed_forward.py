"""Blocks of one component that read and write each position by itself: MLPs.

`cntbench.models.blocks.Block` says what their methods take and return.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from cntbench.models.heads import Queries
from cntbench.models.maps import Linear, RMSNorm
from cntbench.models.products import Activation, widened


class WholeOutput:
    """What blocks have in common whose states are what their components write."""

    def contributions(self, changes: Tensor) -> Tensor:
        """Return the changes themselves."""
        return changes.movedim(-2, 0)

    def image(self, states: Tensor) -> Tensor:
        """Return the states themselves, in single precision at least."""
        return widened(states)


@dataclass(frozen=True)
class MLP(WholeOutput):
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
    after
        A norm of the output; None if there is none.
    """

    inner: Linear
    outer: Linear
    activation: Activation
    gate: Linear | None = None
    after: RMSNorm | None = None

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
        output = self.outer(self._hidden(normed))
        return (output if self.after is None else self.after(output)).unsqueeze(-2)

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
        moved = widened(F.linear(moved, self.outer.weight))
        if self.after is not None:
            moved = self.after.derivative(widened(self.outer(self._hidden(normed))), moved)
        return moved.unsqueeze(-2)

    def write(self, states: Tensor, stream: Tensor) -> None:
        """Add the output to the stream."""
        stream += states.squeeze(-2)
