"""AtP*: EAP that recomputes attention and keeps gradients from cancelling between layers.

Two changes to attribution patching (Kramár et al. 2024, arXiv 2403.00745), applied to edges:

*QK fix.* In a head, the change δ_s passes through values to first order; for queries and keys, the
softmax is recomputed. With attention weights a of the head,

    e = δ_s · (∂m/∂input by values) + Σ_ij (a_ij(q', k) − a_ij + a_ij(q, k') − a_ij) ∂m/∂a_ij,

where q' and k' are the queries and keys of x_t + δ_s through the real norm, changed one at a time.
For an MLP, e is EAP's estimate.

*GradDrop.* Direct and indirect effects may cancel in a gradient. Let e_l be e with gradients that
bypass layer l along the residual stream; it is 0 for targets in layer l. For L layers the estimate
is

    1/(L − 1) Σ_l |e_l|        with the sign of e,

or e itself if L = 1. The paper's estimate has no sign, patches nodes, and changes the key of one
position at a time; here all positions of a source change at once, as for every edge.

It costs one backward pass for each layer, and the queries, keys and attention weights of each
source. Without GradDrop it is exact where values, MLPs and norms are linear and queries or keys do
not change; with GradDrop, only where in addition no later layer reads the target.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cntbench.engine.rules import ThroughValues
from cntbench.errors import CntbenchError

if TYPE_CHECKING:
    from cntbench.engine.attribution import Edges, Estimate

OBSERVES = ("readout",)
USES = ("gradient",)


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the estimate of every edge."""
    from cntbench.engine.backward import along_attention, back_through, backward_passes
    from cntbench.models.blocks import Attention

    if any(isinstance(b, Attention) and b.divisor is not None for b in edges.model.blocks):
        raise CntbenchError(
            "atp_star has no rule for a norm after attention, whose divisor all heads of a layer "
            "share",
            where=f"ablation {edges.ablation.name!r}",
            hint="Use eap, eap_ig, relp, gim or exact with this model.",
        )
    layers = 1 + edges.layer(-1)
    for reached in backward_passes(edges):
        if not edges.requested(reached.nodes):
            continue
        result = edges.along(reached.nodes, back_through(edges, ThroughValues(), reached))
        for block, _, nodes in edges.model.walk[reached.stage].places:
            if isinstance(block, Attention):
                heads = slice(nodes.start - reached.nodes.start, nodes.stop - reached.nodes.start)
                result.values[:, :, heads] += along_attention(edges, reached, block)
        values, bypassed = result.values[0], result.values[1:].abs().sum(dim=0)
        if layers > 1:
            size = (edges.layer(reached.stage) * values.abs() + bypassed) / (layers - 1)
            values = size.copysign(values)
        yield result._replace(values=values)
