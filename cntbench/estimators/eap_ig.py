"""EAP with integrated gradients: the mean gradient between corrupted twin and prompt.

As `cntbench.estimators.eap`, with the mean of the gradients at points j = 1 … n (``steps``) on the
line from the embeddings r of the reference prompt to the clean ones z (Hanna et al. 2024, arXiv
2403.17806),

    δ_s · 1/n Σ_j  ∂m / ∂(input of k)  at  r + j/n (z − r),

so that one step is EAP. It is exact where EAP is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cntbench.engine.attribution import Edges, Estimate

OBSERVES = ("readout",)
USES = ("gradient", "reference", "steps")


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the share of each point in the estimate of every edge."""
    steps = edges.ablation.steps or 1
    for step in edges.request.each(range(1, steps + 1), lambda _: "a gradient"):
        for targets, gradients in edges.gradients(edges.embeddings(step / steps)):
            found = edges.along(targets, gradients)
            yield found._replace(values=found.values.double() / steps)
