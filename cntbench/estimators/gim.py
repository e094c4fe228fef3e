"""Gradient interaction modifications: EAP with a backward pass that sees cancelled effects.

As `cntbench.estimators.eap`, δ_s · g_k, where the gradient g_k in the input of k follows three
modified rules (GIM, Edin et al. 2025, arXiv 2505.17630):

    softmax      its Jacobian at a higher temperature: for A = softmax(S),
                 ∂m/∂S = B ∘ (∂m/∂A − Σ_j B_j ∂m/∂A_j)  with  B = softmax(S / T),  T = 2
    norms        the divisor is a constant
    products     the gradient is split between the factors: of the gradient of A v, half goes to v
                 and half to A; of the latter, half to q and half to k; of f(g) · h, half to each

Saturated attention, and values that compensate for each other under it, thus keep a gradient. It
costs one backward pass, as EAP does. Where everything else is linear, the third rule halves the
effect of an edge into a head through its values, and every head on the way to the readout halves it
again: estimates rank edges but do not measure sizes. As in the paper's code, the Jacobian lacks the
factor 1/T, and activations keep their own gradient. The paper scores nodes and tokens; here every
edge has its own gradient, as in EAP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cntbench.engine.rules import ConstantDivisors, half_gradient

if TYPE_CHECKING:
    from torch import Tensor

    from cntbench.engine.attribution import Edges, Estimate
    from cntbench.models.heads import Attending

OBSERVES = ("readout",)
USES = ("gradient",)
TEMPERATURE = 2.0


@dataclass(frozen=True)
class Interactions(ConstantDivisors):
    """The rules of GIM; those for norms and gates are `ConstantDivisors`'."""

    estimator = "gim"

    def attention(self, query: Tensor, key: Tensor, value: Tensor, attending: Attending) -> Tensor:
        """Halve the gradient of each factor of a product; soften the softmax's gradient."""
        scores = half_gradient(attending.scores(query, key))
        constant = scores.detach()
        # The softmax at S / T, with the gradient taken by S rather than S / T.
        soft = (constant / TEMPERATURE + (scores - constant).nan_to_num()).softmax(dim=-1)
        weights = soft - soft.detach() + constant.softmax(dim=-1)
        return half_gradient(weights @ value)


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the estimate of every edge."""
    for targets, gradients in edges.gradients(rules=Interactions()):
        yield edges.along(targets, gradients)
