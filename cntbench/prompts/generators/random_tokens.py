"""Independent uniform random tokens, without structure.

All but the last position are scored on the next token. The corrupted twin is another draw.
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
    length
        Length of the prompt [tokens].
    """

    length: Annotated[int, Field(ge=2, le=8192)]

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt of ``length`` tokens, scored at ``length - 1`` positions."""
        tokens = language.sample(rng, self.length)
        return Prompt(
            tokens=tokens,
            scored=np.arange(self.length - 1),
            targets=tokens[1:],
            decoys=language.other(rng, tokens[1:]),
            reference=language.sample(rng, self.length),
        )
