"""Relevance patching: the change of each source times a coefficient of relevance propagation.

As `cntbench.estimators.eap`, δ_s · c_k, where a coefficient c_k replaces the gradient in the input
of k. It is propagated back from the readout by the rules of layer-wise relevance propagation (RelP,
Rezaei Jafari et al. 2025, arXiv 2508.21258). Each rule is a gradient in which one factor (*) is a
constant:

    norms          LN-rule         y = (x − mean x) / σ*, or x / rms*
    activations    identity rule   y = h · (f(h) / h)*
    attention      AH-rule         z = A* v, with the attention weights A
    gates          half rule       y = f(g) · h, of which each factor gets half
    linear maps    0-rule          unchanged

It costs one backward pass, as EAP does. The estimate is exact where the model is linear apart from
factors that the rules hold constant and the change leaves alone. Where f(h) / h is 0/0, it is
evaluated at a nearby point. The paper scores nodes; here every edge has its own coefficient, as in
EAP. From the readout to the logits, the readout's own gradient is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cntbench.engine.rules import ConstantDivisors, ThroughValues

if TYPE_CHECKING:
    from torch import Tensor

    from cntbench.engine.attribution import Edges, Estimate
    from cntbench.models.feed_forward import MLP

OBSERVES = ("readout",)
USES = ("gradient",)
#: Replaces 0 in 0/0.
BESIDE = 1e-6


@dataclass(frozen=True)
class Relevance(ThroughValues, ConstantDivisors):
    """The rules of RelP; those for norms and gates are `ConstantDivisors`'."""

    estimator = "relp"

    def mlp(self, block: MLP) -> MLP:
        """Treat f(h) / h as a constant."""
        function = block.activation.function

        def activation(hidden: Tensor) -> Tensor:
            at = hidden.detach().masked_fill(hidden == 0, BESIDE)
            return hidden * (function(at) / at)

        return replace(block, activation=replace(block.activation, function=activation))


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the estimate of every edge."""
    for targets, coefficients in edges.gradients(rules=Relevance()):
        yield edges.along(targets, coefficients)
