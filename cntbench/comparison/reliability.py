"""Reliability of influence: would the same method say the same again?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cntbench.comparison.ranks import rank_correlation

Array = NDArray[np.float64]


def spearman_brown(correlation: float) -> float:
    """Extrapolate the correlation r of two halves to the whole: 2 r / (1 + |r|).

    Sources: Spearman 1910; Brown 1910. The modulus keeps negative correlations within −1 to 1.
    """
    return 2 * correlation / (1 + abs(correlation))


def split_half(one: Array, other: Array) -> float:
    """Return how reliable the whole is, given the influence by either half of the prompts.

    Parameters
    ----------
    one, other
        Influence, dims ``source, target``; NaN where not feasible.

    Returns
    -------
    float
        Spearman's ρ over the feasible edges with the Spearman-Brown correction, −1 to 1; NaN where
        undefined.
    """
    return spearman_brown(rank_correlation(one, other))


def over_draws(draws: Sequence[Array]) -> float:
    """Return the mean Spearman's ρ over all pairs of random draws.

    Parameters
    ----------
    draws
        Influence by other seeds of the random numbers, dims ``source, target``.

    Returns
    -------
    float
        From −1 to 1; NaN for fewer than two draws, and where a ρ is undefined.
    """
    found = [rank_correlation(a, b) for a, b in combinations(draws, 2)]
    return float(np.mean(found)) if found else np.nan
