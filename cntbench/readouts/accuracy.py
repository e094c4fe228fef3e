"""Share of positions at which the right token has the largest logit; a tie is no hit.

Of a set of right tokens, one of them has it. An answer of several tokens is right if all of them
are, each given those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cntbench.readouts._base import Scored

if TYPE_CHECKING:
    from torch import Tensor

UNIT = "1"
BETTER = 1
READS = ("best_other",)


def value(at: Scored) -> Tensor:
    """Return 1 where the target has the largest logit, else 0, dims ``run, prompt, scored``."""
    return (at.best_other < 0).double()


def over_answer(values: Tensor) -> Tensor:
    """Return 1 where all tokens of the answer are right, without the last dim."""
    return values.amin(dim=-1)


def reference(logits: Tensor, target: int, decoy: int) -> float:
    """Compare the target's logit with every other."""
    return float(all(logits[target] > logit for i, logit in enumerate(logits) if i != target))
