"""One random token, repeated: trivial copying.

All but the first and the last position are scored: a token that has occurred at least twice in a
row is to be continued. The corrupted twin keeps the last token after independent random tokens.
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

    length: Annotated[int, Field(ge=3, le=8192)]

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt of ``length`` tokens, scored at ``length - 2`` positions."""
        tokens = np.repeat(language.sample(rng, 1), self.length)
        targets = tokens[2:]
        return Prompt(
            tokens=tokens,
            scored=np.arange(1, self.length - 1),
            targets=targets,
            decoys=language.other(rng, targets),
            reference=np.concatenate([language.sample(rng, self.length - 1), tokens[-1:]]),
        )
