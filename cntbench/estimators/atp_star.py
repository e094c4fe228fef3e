"""AtP*: EAP whose attention is recomputed, and whose gradients may not cancel between layers.

Two changes to attribution patching (Kramár et al. 2024, arXiv 2403.00745), here for edges:

*QK fix.* Into a head, the change δ_s goes through values to first order, and through queries and
keys with the softmax computed: with attention weights a of the head,

    e = δ_s · (∂m/∂input by values) + Σ_ij (a_ij(q', k) − a_ij + a_ij(q, k') − a_ij) ∂m/∂a_ij,

where q' and k' are the queries and keys of x_t + δ_s, through the real norm, each alone. Into an
MLP, e is EAP's estimate.

*GradDrop.* Direct and indirect effects may cancel in a gradient. Let e_l be e by gradients that go
around layer l, down the residual stream alone; it is 0 for targets of layer l. Of L layers,

    1/(L − 1) Σ_l |e_l|        with the sign of e,

and e itself if there is one layer. The paper has no sign, patches nodes, and changes the key of
one position at a time; here all positions of a source change at once, as in every edge.

It costs one way back for each layer, and the queries, keys and attention weights of each source.
Without GradDrop it would be exact where values, MLPs and norms are linear and queries or keys do
not change; with it, where no later layer reads the target, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cntbench.engine.rules import Rules
from cntbench.errors import CntbenchError

if TYPE_CHECKING:
    from torch import Tensor

    from cntbench.engine.attribution import Edges, Estimate
    from cntbench.models.heads import Attending

OBSERVES = ("readout",)
USES = ("gradient",)


@dataclass(frozen=True)
class ThroughValues(Rules):
    """The gradient through the values of heads alone."""

    def attention(self, query: Tensor, key: Tensor, value: Tensor, attending: Attending) -> Tensor:
        """Take the attention weights for constants."""
        return attending.scores(query, key).softmax(dim=-1).detach() @ value


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the estimate of every edge."""
    from cntbench.engine.ways_back import along_attention, back_through, ways_back
    from cntbench.models.blocks import Attention

    if any(isinstance(b, Attention) and b.divisor is not None for b in edges.model.blocks):
        raise CntbenchError(
            "atp_star has no rule for a norm behind attention, whose divisor all heads of a layer "
            "share",
            where=f"ablation {edges.ablation.name!r}",
            hint="Take eap, eap_ig, relp, gim or exact with this model.",
        )
    layers = 1 + edges.layer(-1)
    for back in ways_back(edges):
        if not edges.asked(back.nodes):
            continue
        found = edges.along(back.nodes, back_through(edges, ThroughValues(), back))
        for block, _, nodes in edges.model.places[back.stage]:
            if isinstance(block, Attention):
                heads = slice(nodes.start - back.nodes.start, nodes.stop - back.nodes.start)
                found.values[:, :, heads] += along_attention(edges, back, block)
        whole, around = found.values[0], found.values[1:].abs().sum(dim=0)
        if layers > 1:
            size = (edges.layer(back.stage) * whole.abs() + around) / (layers - 1)
            whole = size.copysign(whole)
        yield found._replace(values=whole)
