"""The exact effect: the model is run again with the change.

For a readout m, the edge from source s to target k of stage t, and the change δ_s of the output of
s, the effect is

    m(x_{t+1} + c_k(x_t + δ_s) − c_k(x_t)) − m(x_{t+1}),

with everything downstream of the target recomputed (path patching; Goldowsky-Dill et al. 2023,
arXiv 2304.05969). EAP estimates this effect, and ACDC (Conmy et al. 2023, arXiv 2304.14997) prunes
edges by it, one at a time. Effects on targets are measured in one pass for all sources
(`cntbench.engine.sweep`, `cntbench.engine.direct`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cntbench.engine.attribution import Edges, Estimate

OBSERVES = ("readout", "target")
USES = ("through",)


def estimate(edges: Edges) -> Iterator[Estimate]:
    """Yield the effect of every edge on the readout."""
    from cntbench.engine.patching import patched_edges

    yield from patched_edges(edges)
