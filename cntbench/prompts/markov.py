"""Markov chains over tokens: the language of the embedded model, and of the bigram task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.prompts import Tokens


def random_chain(rng: np.random.RandomState, states: int, sharpness: float) -> NDArray[np.float64]:
    """Return transition probabilities, dims ``token, next token``: each row sums to 1."""
    weights = np.exp(sharpness * rng.standard_normal((states, states)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def walk(
    rng: np.random.RandomState, chain: NDArray[np.float64], length: int, walkers: int
) -> Tokens:
    """Draw independent walks from a uniform start, dims ``walker, position``."""
    cumulative = chain.cumsum(axis=1)
    states = np.empty((walkers, length), dtype=np.int64)
    states[:, 0] = rng.randint(0, len(chain), walkers)
    for position in range(1, length):
        row = cumulative[states[:, position - 1]]
        next_states = (row < rng.uniform(size=(walkers, 1))).sum(axis=1)
        states[:, position] = np.minimum(next_states, len(chain) - 1)
    return states
