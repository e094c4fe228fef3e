"""Logit of the right token minus that of the wrong one.

l_t − l_u of target t and decoy u: two columns of the unembedding for each position. Between sets T
and U of tokens it is log Σ_t∈T exp(l_t) − log Σ_u∈U exp(l_u), the logarithm of the ratio of their
probabilities. Answers of several tokens are compared where they part, given what they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cntbench.readouts._base import Scored

if TYPE_CHECKING:
    from torch import Tensor

UNIT = "nat"
BETTER = 1
READS = ()


def value(at: Scored) -> Tensor:
    """Return l_t − l_u, dims ``run, prompt, scored``."""
    return at.difference(at.targets, at.decoys)


def gradient(at: Scored) -> Tensor:
    """Return w_t − w_u, dims ``prompt, scored, hidden``."""
    return at.columns(at.targets) - at.columns(at.decoys)


def reference(logits: Tensor, target: int, decoy: int) -> float:
    """Subtract one logit from the other."""
    return (logits[target] - logits[decoy]).item()
