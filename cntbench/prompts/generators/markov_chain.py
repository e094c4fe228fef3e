"""A Markov chain over tokens: only the present token tells about the next.

The chain is the one the model was trained on, where the trajectory has one; else a random chain
that ``states`` and ``chain_seed`` fix: ``states`` random tokens, each row of transition
probabilities the softmax of standard normal numbers times ``sharpness``. Every position but the
last is scored on the token that follows; decoys are uniform over the chain's other tokens. The
corrupted twin is uniform over the chain's tokens, without its transitions.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from cntbench.prompts import Language, Prompt, random_state
from cntbench.prompts.markov import random_chain, walk
from cntbench.specs import spec


@spec
class Parameters:
    """Parameters of the generator.

    Parameters
    ----------
    length
        Length of the prompt [tokens].
    states, sharpness, chain_seed
        The chain for models that were trained on none.
    """

    length: Annotated[int, Field(ge=2, le=8192)]
    states: Annotated[int, Field(ge=2, le=1024)] = 32
    sharpness: Annotated[float, Field(gt=0, le=10)] = 1.5
    chain_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt of ``length`` tokens, scored at ``length - 1`` positions."""
        if language.chain is None:
            fixed = random_state(self.chain_seed, "chain")
            spoken = Language(language.distinct(fixed, self.states))
            chain = random_chain(fixed, self.states, self.sharpness)
        else:
            spoken, chain = language, language.chain
        tokens = spoken.vocabulary[walk(rng, chain, self.length, 1)[0]]
        return Prompt(
            tokens=tokens,
            scored=np.arange(self.length - 1),
            targets=tokens[1:],
            decoys=spoken.other(rng, tokens[1:]),
            reference=spoken.sample(rng, self.length),
        )
