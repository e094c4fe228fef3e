"""Reliability of influence: how well a method reproduces its own result."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cntbench.comparison.ranks import rank_correlation

Array = NDArray[np.float64]


def spearman_brown(correlation: float) -> float:
    """Return the correlation of the whole, given the r of two halves: 2 r / (1 + |r|).

    Sources: Spearman 1910; Brown 1910. The absolute value keeps a negative r within −1 to 1.
    """
    return 2 * correlation / (1 + abs(correlation))


def split_half(first: Array, second: Array) -> float:
    """Return the reliability of the influence, measured on each half of the prompts.

    Parameters
    ----------
    first, second
        Influence, dims ``source, target``; NaN where not feasible.

    Returns
    -------
    float
        Spearman's ρ over the feasible edges with the Spearman-Brown correction, −1 to 1; NaN where
        undefined.
    """
    return spearman_brown(rank_correlation(first, second))


def over_draws(draws: Sequence[Array]) -> float:
    """Return the mean Spearman's ρ over all pairs of random draws.

    Parameters
    ----------
    draws
        Influence with different random seeds, dims ``source, target``.

    Returns
    -------
    float
        From −1 to 1; NaN for fewer than two draws, and where a ρ is undefined.
    """
    correlations = [rank_correlation(a, b) for a, b in combinations(draws, 2)]
    return float(np.mean(correlations)) if correlations else np.nan
