"""Rules that replace the gradients of parts of a model in the backward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cntbench.errors import CntbenchError

if TYPE_CHECKING:
    from torch import Tensor

    from cntbench.models.experts import Experts
    from cntbench.models.feed_forward import MLP
    from cntbench.models.heads import Attending
    from cntbench.models.maps import Norm


@dataclass(frozen=True)
class Rules:
    """Rules for the backward pass: each returns what the model computes, with its own gradient.

    These are the plain gradients; a subclass overrides what its method changes. Because
    ``value.detach()`` has no gradient, ``x * (f(x) / x).detach()`` is f with another gradient.
    """

    def norm(self, norm: Norm, stream: Tensor) -> Tensor:
        """Return the normalised stream."""
        return norm(stream)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, attending: Attending) -> Tensor:
        """Return z, for heads that each read a stream of its own.

        All dims ``…, prompt, position, width``. ``attending.scores`` makes attention scores of
        queries and keys.
        """
        return attending.scores(query, key).softmax(dim=-1) @ value

    def mlp(self, block: MLP) -> MLP:
        """Return an MLP with the rules for its activation and its gate."""
        return block

    def experts(self, block: Experts) -> Experts:
        """Return experts with the rules for them."""
        return block

    def written(self, block: MLP, states: Tensor) -> Tensor:
        """Return what the MLP writes, or what a norm after it reads."""
        return states

    def divided(self, states: Tensor, inverse: Tensor) -> Tensor:
        """Return heads' states times one over the divisor of a norm after them."""
        return states * inverse


@dataclass(frozen=True)
class ConstantDivisors(Rules):
    """Divisors of norms are constants, and each factor of a gate gets half of the gradient."""

    estimator: ClassVar[str]

    def norm(self, norm: Norm, stream: Tensor) -> Tensor:
        """Treat the divisor as a constant."""
        return norm.frozen(stream)

    def divided(self, states: Tensor, inverse: Tensor) -> Tensor:
        """Treat the divisor as a constant."""
        return states * inverse.detach()

    def experts(self, block: Experts) -> Experts:
        """Refuse experts: there is no rule for a router."""
        raise CntbenchError(
            f"{self.estimator} has no rule for the router of a mixture of experts",
            hint="Use eap, eap_ig or exact with this model.",
        )

    def written(self, block: MLP, states: Tensor) -> Tensor:
        """Halve the gradient of each factor of a gate."""
        return states if block.gate is None else half_gradient(states)


@dataclass(frozen=True)
class ThroughValues(Rules):
    """The gradient through the values of heads alone."""

    def attention(self, query: Tensor, key: Tensor, value: Tensor, attending: Attending) -> Tensor:
        """Treat the attention weights as constants."""
        return attending.scores(query, key).softmax(dim=-1).detach() @ value


def half_gradient(values: Tensor) -> Tensor:
    """Return the values unchanged, with half of their gradient."""
    half = values * 0.5
    return half + half.detach()
