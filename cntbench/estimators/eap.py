"""Edge attribution patching: the effect to first order, from one gradient.

The first-order term replaces a patched run (Syed et al. 2023, arXiv 2310.10348). For the edge from
source s to target k of stage t it is

    δ_s · ∂m / ∂(input of k),        summed over positions and the stream's width,

where δ_s is the replaced minus the clean contribution of the source, m the readout, and the input
of k a copy of the stream that only k reads: the gradient passes through k's queries, keys and
values together and through the real LayerNorm. Because δ_s points from clean to replaced, the
estimate approximates patched minus clean. It is exact where m is linear in the input of k.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cntbench.engine.attribution import Edges, Estimate

OBSERVES = ("readout",)
USES = ("gradient",)


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the estimate of every edge."""
    for targets, gradients in edges.gradients():
        yield edges.along(targets, gradients)
