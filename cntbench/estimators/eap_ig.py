"""EAP with integrated gradients: the mean gradient between corrupted twin and prompt.

As `cntbench.estimators.eap`, with the mean of the gradients at n points (``steps``) j = 1 … n,

    δ_s · 1/n Σ_j  ∂m / ∂(input of k)  at point j,

so it is exact where EAP is. The points lie

- ``eap_ig``, over inputs: on the line from the embeddings r of the reference prompt to the clean
  embeddings z, at r + j/n (z − r) (Hanna et al. 2024, arXiv 2403.17806). With one step it is EAP.
  It costs n times as much as EAP.
- ``eap_ig_activations``, over activations: on the line from the replaced to the clean contributions
  of the source's block (the heads of a layer, or an MLP) with everything else upstream clean, at
  x + (1 − j/n) Σ_{b in block} δ_b, where x is the stream after the block. Marks et al. 2024 (arXiv
  2403.19647) interpolate one node at a time, Mueller et al. 2025 (arXiv 2504.13151) one layer. It
  needs no corrupted twins and costs n backward passes for each block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cntbench.plugins import Variant

if TYPE_CHECKING:
    from cntbench.engine.attribution import Edges, Estimate

OBSERVES = ("readout",)
USES = ("gradient", "reference", "steps")
VARIANTS = {
    "eap_ig": Variant("EAP with integrated gradients, from corrupted twin to prompt.", {}),
    "eap_ig_activations": Variant(
        "EAP with integrated gradients, from replaced to clean activations of each block.",
        {"over": "activations"},
        {"USES": ("gradient", "steps")},
    ),
}


def estimate(edges: Edges, *, over: str = "inputs") -> Iterator[Estimate]:
    """Yield the share of each point in the estimate of every edge."""
    steps = edges.ablation.steps or 1
    if over == "activations":
        yield from _over_activations(edges, steps)
        return
    for step in edges.request.each(range(1, steps + 1), lambda _: "a gradient"):
        for targets, gradients in edges.gradients(edges.embeddings(step / steps)):
            estimated = edges.along(targets, gradients)
            yield estimated._replace(values=estimated.values.double() / steps)


def _over_activations(edges: Edges, steps: int) -> Iterator[Estimate]:
    from cntbench.engine.attribution import Estimate

    blocks = [(stage, p) for stage, placed in enumerate(edges.model.walk, 1) for p in placed.places]
    for stage, place in blocks:
        sources = [source for source in edges.request.ablated if source in place.nodes]
        if not sources or stage == len(edges.model.stages):
            continue
        clean, change = edges.perturbations.streams[stage], edges.change_of(place.nodes)
        for step in edges.request.each(range(1, steps + 1), lambda _: "a gradient"):
            point = clean + (1 - step / steps) * change
            for targets, gradients in edges.gradients(point, first=stage):
                estimated = edges.along(targets, gradients)
                rows = [row for row, source in enumerate(estimated.sources) if source in sources]
                yield Estimate(sources, targets, estimated.values[rows].double() / steps)
