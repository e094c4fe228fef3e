"""Effects on targets to first order: how the target changes along the change of the source.

With the change δ_s of what source s of stage u writes, and the Jacobian J_k of component k of stage
t in the clean stream x_t that it reads, target k changes by

    J_k ẋ_t,      ẋ_t = δ_s                                        direct effect,
                  ẋ_{u+1} = δ_s,   ẋ_{t+1} = ẋ_t + Σ_k J_k ẋ_t      total effect,

through its queries, keys, values and the real norm together: one pass forth for each source, in
which derivatives take the place of values (forward-mode differentiation; Griewank & Walther 2008,
"Evaluating derivatives", chapter 3). The edge is the ablation's measure of c_k and c_k + J_k ẋ_t.
Readouts are read from the final stream x + ẋ.

It is exact where the model is linear, and for small changes: a tenth of the change has a hundredth
of the error. A pass of derivatives costs what a pass of values costs, and one for attention's
scores more; what it saves is the choice of how far to go: it is the effect of all small changes in
the direction of the ablation. Where a saturated part hides an effect, the two differ.
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
    for index, (stage, places) in enumerate(zip(model.stages, model.places, strict=True)):
        sources = edges.reaching(places[0].nodes)
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
        yield StreamChange(edges.perturbations.sources, moving)
