"""KL divergence of the model's next-token distribution from the clean model's.

Σ_v q_v (log q_v − log p_v) with q of the clean run and p of this one, over the whole vocabulary. It
is 0 for the clean model, so that an effect is the divergence itself; targets and decoys play no
part. Over the tokens of one answer it is summed. Source: Conmy et al. 2023 (arXiv 2304.14997), the
default of ACDC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cntbench.readouts._base import Scored

if TYPE_CHECKING:
    from torch import Tensor

UNIT = "nat"
BETTER = -1
READS = ("divergence",)


def value(at: Scored) -> Tensor:
    """Return the divergence, dims ``run, prompt, scored``; never negative."""
    return at.divergence


def gradient(at: Scored) -> Tensor:
    """Return Σ_v (p_v − q_v) w_v, dims as the streams'; 0 in the clean run."""
    return at.excess_column


def reference(logits: Tensor, target: int, decoy: int, clean: Tensor) -> float:
    """Sum over the tokens at one position."""
    pairs = zip(clean.softmax(dim=0), logits.softmax(dim=0), strict=True)
    return sum((q * (q / p).log()).item() for q, p in pairs)
