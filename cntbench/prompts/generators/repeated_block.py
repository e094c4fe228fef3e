"""A block of distinct random tokens, then the same block again.

The prompt is ``B F P(B)``: the block, an optional filler of other random tokens, and the block
again, in the same order or permuted. All but the last position of the second block are scored.
Decoys are other tokens of the block, so that only their order helps, not *which* tokens occur. The
corrupted twin replaces the first block and the filler with tokens outside the second block, if the
vocabulary is large enough, so that nothing repeats; the second block stays.

The repeated random block is the standard probe for induction (Olsson et al. 2022, "In-context
learning and induction heads").
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
    block
        Length of the block [tokens].
    filler
        Length of the filler between the two blocks [tokens].
    permuted
        Whether the second block is a random permutation of the first.
    """

    block: Annotated[int, Field(ge=3, le=4096)]
    filler: Annotated[int, Field(ge=0, le=4096)] = 0
    permuted: bool = False

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt of ``2 * block + filler`` tokens, scored at ``block - 1`` positions."""
        first = language.distinct(rng, self.block)
        filler = language.distinct(rng, self.filler, excluding=first)
        second = rng.permutation(first) if self.permuted else first
        start = self.block + self.filler
        scored = np.arange(start, start + self.block - 1)
        targets = second[1:]
        decoys = np.array([rng.choice(first[first != target]) for target in targets])
        lead = language.avoiding(rng, start, first)
        return Prompt(
            tokens=np.concatenate([first, filler, second]),
            scored=scored,
            targets=targets,
            decoys=decoys,
            reference=np.concatenate([lead, second]),
        )
