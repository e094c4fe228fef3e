"""Cross-entropy of the right token, over the whole vocabulary.

log(1 + Σ_v≠t exp(l_v − l_t)), never negative however it is rounded. For a set of right tokens, that
of the sum of their probabilities; for an answer of several tokens, the sum over them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cntbench.readouts._base import Scored

if TYPE_CHECKING:
    from torch import Tensor

UNIT = "nat"
BETTER = -1
READS = ("log_odds",)


def value(at: Scored) -> Tensor:
    """Return the cross-entropy, dims ``run, prompt, scored``."""
    odds = at.log_odds
    # log(1 + e^x), by operators that round an element alike wherever it stands.
    return odds.clamp(min=0) + odds.abs().neg().exp().log1p()


def gradient(at: Scored) -> Tensor:
    """Return Σ_v p_v w_v − w_t, dims ``run, prompt, scored, hidden``."""
    return at.expected_column - at.columns(at.targets)


def reference(logits: Tensor, target: int, decoy: int) -> float:
    """Take the logarithm of the softmax."""
    return -logits.log_softmax(dim=0)[target].item()
