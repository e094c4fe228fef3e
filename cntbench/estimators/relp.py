"""Relevance patching: the change of each source times a coefficient of relevance propagation.

As `cntbench.estimators.eap`, δ_s · c_k, where a coefficient c_k takes the place of the gradient in
the input of k. It comes from the end of the model by the rules of layer-wise relevance propagation
(RelP, Rezaei Jafari et al. 2025, arXiv 2508.21258), each of which is the gradient of the part with
something taken for a constant (*):

    norms          LN-rule         y = (x − mean x) / σ*, or x / rms*
    activations    identity rule   y = h · (f(h) / h)*
    attention      AH-rule         z = A* v, with the attention weights A
    gates          half rule       y = f(g) · h, of which either factor gets half
    linear maps    0-rule          as they are

It costs no more than EAP: one way back. The estimate is exact where the model is linear but for
factors that the rules take for constants and that the change leaves alone. Where f(h) / h is 0/0,
its value beside it is taken. The paper scores nodes; here every edge has a coefficient of its own,
as in EAP. The way back from the readout to the logits is the readout's own gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cntbench.engine.rules import Rules, scaled_gradient

if TYPE_CHECKING:
    from torch import Tensor

    from cntbench.engine.attribution import Edges, Estimate
    from cntbench.models.feed_forward import MLP
    from cntbench.models.heads import Attending
    from cntbench.models.maps import Norm

OBSERVES = ("readout",)
USES = ("gradient",)
#: What takes the place of 0 in 0/0.
BESIDE = 1e-6


@dataclass(frozen=True)
class Relevance(Rules):
    """The rules of RelP."""

    def norm(self, norm: Norm, stream: Tensor) -> Tensor:
        """Take the divisor for a constant."""
        return norm.frozen(stream)

    def divided(self, states: Tensor, inverse: Tensor) -> Tensor:
        """Take the divisor for a constant."""
        return states * inverse.detach()

    def attention(self, query: Tensor, key: Tensor, value: Tensor, attending: Attending) -> Tensor:
        """Take the attention weights for constants."""
        return attending.scores(query, key).softmax(dim=-1).detach() @ value

    def mlp(self, block: MLP) -> MLP:
        """Take the slope of the line from 0 through the activation for a constant."""
        function = block.activation.function

        def activation(hidden: Tensor) -> Tensor:
            at = hidden.detach().masked_fill(hidden == 0, BESIDE)
            return hidden * (function(at) / at)

        return replace(block, activation=replace(block.activation, function=activation))

    def written(self, block: MLP, states: Tensor) -> Tensor:
        """Give either factor of a gate half of what goes back through their product."""
        return states if block.gate is None else scaled_gradient(states, 0.5)


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the estimate of every edge."""
    for targets, coefficients in edges.gradients(rules=Relevance()):
        yield edges.along(targets, coefficients)
