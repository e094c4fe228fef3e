"""Probability of the right token minus that of the wrong one.

p_t − p_u of target t and decoy u, between −1 and 1. For sets of tokens, the difference between the
sums of their probabilities (Hanna et al. 2023, arXiv 2305.00586, for greater-than). Answers of
several tokens are compared where they part, given what they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cntbench.readouts import log_probability
from cntbench.readouts._base import Scored

if TYPE_CHECKING:
    from torch import Tensor

UNIT = "1"
BETTER = 1
READS = log_probability.READS


def value(at: Scored) -> Tensor:
    """Return p_t − p_u, dims ``run, prompt, scored``."""
    right, wrong = _probabilities(at)
    return right - wrong


def gradient(at: Scored) -> Tensor:
    """Return p_t (w_t − c) − p_u (w_u − c) with c = Σ_v p_v w_v; dims as those of the streams."""
    right, wrong = (p.unsqueeze(-1) for p in _probabilities(at))
    mean = at.expected_column
    of_right, of_wrong = at.columns(at.targets) - mean, at.columns(at.decoys) - mean
    return right.to(mean) * of_right - wrong.to(mean) * of_wrong


def reference(logits: Tensor, target: int, decoy: int) -> float:
    """Subtract one probability from the other."""
    odds = logits.softmax(dim=0)
    return (odds[target] - odds[decoy]).item()


def _probabilities(at: Scored) -> tuple[Tensor, Tensor]:
    """Return those of targets and decoys: log p_u = log p_t − (l_t − l_u)."""
    right = log_probability.value(at)
    wrong = right - at.difference(at.targets, at.decoys)
    return right.exp(), wrong.exp()
