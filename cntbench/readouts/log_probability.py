"""Log-probability of the right token.

log p_t of target t: the cross-entropy with the other sign. For a set of right tokens, the logarithm
of the sum of their probabilities; for an answer of several tokens, the sum over them, which is the
log-probability of the whole answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cntbench.readouts import cross_entropy
from cntbench.readouts._base import Scored

if TYPE_CHECKING:
    from torch import Tensor

UNIT = "nat"
BETTER = 1
READS = cross_entropy.READS


def value(at: Scored) -> Tensor:
    """Return log p_t, never positive, dims ``run, prompt, scored``."""
    return -cross_entropy.value(at)


def gradient(at: Scored) -> Tensor:
    """Return w_t − Σ_v p_v w_v, dims ``run, prompt, scored, hidden``."""
    return -cross_entropy.gradient(at)


def reference(logits: Tensor, target: int, decoy: int) -> float:
    """Take the logarithm of the softmax."""
    return logits.log_softmax(dim=0)[target].item()
