"""A Markov chain over tokens: only the current token predicts the next.

The chain is the one that the model was trained on, if there is one. Otherwise it is a random chain
on ``states`` random tokens, determined by ``chain_seed``: each row of transition probabilities is
the softmax of standard normal numbers times ``sharpness``. All but the last position are scored on
the next token; decoys are uniform over the chain's other tokens. The corrupted twin is uniform over
the chain's tokens, without its transitions.
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
        The chain for models that were not trained on one.
    """

    length: Annotated[int, Field(ge=2, le=8192)]
    states: Annotated[int, Field(ge=2, le=1024)] = 32
    sharpness: Annotated[float, Field(gt=0, le=10)] = 1.5
    chain_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    def make(self, language: Language, rng: np.random.RandomState) -> Prompt:
        """Make one prompt of ``length`` tokens, scored at ``length - 1`` positions."""
        if language.chain is None:
            chain_rng = random_state(self.chain_seed, "chain")
            language = Language(language.distinct(chain_rng, self.states))
            chain = random_chain(chain_rng, self.states, self.sharpness)
        else:
            chain = language.chain
        tokens = language.vocabulary[walk(rng, chain, self.length, 1)[0]]
        return Prompt(
            tokens=tokens,
            scored=np.arange(self.length - 1),
            targets=tokens[1:],
            decoys=language.other(rng, tokens[1:]),
            reference=language.sample(rng, self.length),
        )
