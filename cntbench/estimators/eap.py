"""Edge attribution patching: the effect to first order, by one gradient.

The first-order term takes the place of a patched run (Syed et al. 2023, arXiv 2310.10348): for the
edge from source s to target k of stage t

    δ_s · ∂m / ∂(input of k),        summed over positions and the stream's width,

where δ_s is replaced minus clean contribution of the source, m the readout, and the input of k the
stream that k alone reads: the gradient goes through its own queries, keys and values together and
through the real LayerNorm. As δ_s points from clean to replaced, the estimate approximates patched
minus clean, the sign of every effect here. It is exact where m depends linearly on the input of k.
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
