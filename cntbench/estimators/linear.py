"""Effects on targets to first order: the target's derivative along the change of the source.

Let δ_s be the change of the output of source s of stage u, and J_k the Jacobian of component k of
stage t at the clean stream x_t that it reads. Target k changes by

    J_k ẋ_t,      ẋ_t = δ_s                                        direct effect,
                  ẋ_{u+1} = δ_s,   ẋ_{t+1} = ẋ_t + Σ_k J_k ẋ_t      total effect,

through its queries, keys, values and the real norm together. This takes one forward pass of
derivatives for each source (forward-mode differentiation; Griewank & Walther 2008, "Evaluating
derivatives", chapter 3). The edge is the ablation's measure of c_k and c_k + J_k ẋ_t. Readouts are
computed from the final stream x + ẋ.

It is exact where the model is linear, and to first order elsewhere: a tenth of the change has a
hundredth of the error. A pass of derivatives costs as much as a pass of values, plus one more for
attention scores. It measures the effect of small changes in the direction of the ablation, whatever
their size; where a saturated part hides the effect of small changes, it differs from the ablation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cntbench.engine.attribution import Edges, Estimate, StreamChange

OBSERVES = ("target",)
USES = ()


def estimate(edges: Edges) -> Iterator[Estimate | StreamChange]:
    """Yield the estimate of every edge, then how the final stream changes."""
    from cntbench.engine.attribution import StreamChange

    model, streams = edges.model, edges.perturbations.streams
    total, moving = edges.ablation.scope == "total", edges.changes.clone()
    for index, (stage, places, nodes) in enumerate(model.walk):
        sources = edges.reaching(nodes)
        if not sources:
            continue
        stream, change = streams[index], moving[: len(sources)].clone()
        normed, change = stage.norm(stream[None])[0], stage.norm.derivative(stream, change)
        for place in places:
            watched = edges.request.watched(place.nodes)
            if not (total or watched):
                continue
            slopes = place.block.derivative(normed, change)
            if watched:
                clean = place.block.states(normed[None])
                yield edges.moved(place, sources, clean, clean + slopes)
            if total:
                written = place.block.contributions(slopes.flatten(0, 1).to(moving.dtype))
                moving[: len(sources)] += written.sum(dim=0).unflatten(0, slopes.shape[:2])
    if total:
        yield StreamChange(edges.request.ablated, moving)
