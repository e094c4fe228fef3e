"""A token followed first by one successor and later by another: A B … A C … A.

The last A is scored. The correct token is C, the most recent successor; the decoy is B, the first
one, so that the logit difference tells which occurrence an induction mechanism follows. The
corrupted twin has random tokens in place of the first two A, so that the last A has no precedent.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from cntbench.prompts import Language, Prompt
from cntbench.specs import spec


@spec
class Parameters:
    """Parameters of the generator.

    Parameters
    ----------
    gap
        Number of other tokens after B, and again after C [tokens].
    """

    gap: Annotated[int, Field(ge=0, le=2048)]

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt of ``2 * gap + 5`` tokens, scored at the last position."""
        tokens = language.distinct(rng, 2 * self.gap + 5)
        a, b, c, *others = tokens[: 2 * self.gap + 3]
        before, after = others[: self.gap], others[self.gap :]
        first, second = tokens[-2:]
        tokens = np.array([a, b, *before, a, c, *after, a])
        reference = np.array([first, b, *before, second, c, *after, a])
        return Prompt(
            tokens=tokens,
            scored=np.array([len(tokens) - 1]),
            targets=np.array([c]),
            decoys=np.array([b]),
            reference=reference,
        )
