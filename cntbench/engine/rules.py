"""What goes back through the parts of a model in place of their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from cntbench.models.blocks import MLP
    from cntbench.models.maps import Norm


@dataclass(frozen=True)
class Rules:
    """Rules for the way back, each as a part of the model that computes what the model computes.

    These here are the gradients themselves; another method changes what it wants to change. As
    ``value.detach()`` has no gradient, ``x * (f(x) / x).detach()`` is f with another one.
    """

    def norm(self, norm: Norm, stream: Tensor) -> Tensor:
        """Return the normalised stream."""
        return norm(stream)

    def attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return z, for heads that each read a stream of its own.

        All dims ``component, prompt, position, width``. Inner products of queries and keys are the
        attention scores.
        """
        return attention_scores(query, key).softmax(dim=-1) @ value

    def mlp(self, block: MLP) -> MLP:
        """Return an MLP with the rules for its activation and its gate."""
        return block

    def written(self, block: MLP, states: Tensor) -> Tensor:
        """Return what the MLP writes."""
        return states


def attention_scores(query: Tensor, key: Tensor) -> Tensor:
    """Return inner products of queries with keys, −∞ for later keys, dims ``…, query, key``."""
    scores = query @ key.mT
    later = scores.new_ones(scores.shape[-2:]).triu(1).bool()
    return scores.masked_fill(later, float("-inf"))


def scaled_gradient(values: Tensor, factor: float) -> Tensor:
    """Return values as they are, whose gradient is multiplied by a factor."""
    return values * factor + (values * (1 - factor)).detach()
