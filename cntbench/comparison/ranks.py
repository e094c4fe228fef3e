"""Agreement of two sets of scores: rank correlation, and overlap of the top scores.

All use the entries that are defined (not NaN) on both sides; for influence, the feasible edges.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's ρ; ties share their mean rank.

    Returns
    -------
    float
        From −1 to 1; NaN if fewer than two entries are defined, or all scores of a side are equal.
    """
    a, b = _defined_in_both(first, second)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    ranks = pd.DataFrame({"first": a, "second": b}).rank()  # scipy takes a second to import
    return float(np.clip(np.corrcoef(*ranks.to_numpy().T)[0, 1], -1, 1))


def split_half(first: ArrayLike, second: ArrayLike) -> float:
    """Return the reliability of scores that were measured on each half of the prompts.

    2 ρ / (1 + |ρ|) of Spearman's ρ, the correlation of the whole given that of two halves; the
    absolute value keeps a negative ρ within −1 to 1. Sources: Spearman 1910; Brown 1910.

    Returns
    -------
    float
        From −1 to 1; NaN where ρ is undefined.
    """
    correlation = rank_correlation(first, second)
    return 2 * correlation / (1 + abs(correlation))


def top_overlap(first: ArrayLike, second: ArrayLike, k: int) -> float:
    """Return the weighted Jaccard index of the top k: Σ min(v, w) / Σ max(v, w).

    The weights v and w of an entry on either side are 1 above the k-th largest score and 0 below
    it; entries equal to that score share the remaining places. Without ties this is the Jaccard
    index of the two sets.

    Returns
    -------
    float
        From 0 to 1, symmetric in the two sides; NaN if fewer than k entries are defined.
    """
    a, b = _defined_in_both(first, second)
    if not 1 <= k <= len(a):
        return np.nan
    v, w = _membership(a, k), _membership(b, k)
    return float(np.minimum(v, w).sum() / np.maximum(v, w).sum())


def _membership(scores: Array, k: int) -> Array:
    threshold = np.partition(scores, -k)[-k]
    above, at = scores > threshold, scores == threshold
    return above + at * ((k - above.sum()) / at.sum())


def _defined_in_both(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"scores of shapes {a.shape} and {b.shape} cannot be compared")
    defined = ~(np.isnan(a) | np.isnan(b))
    return a[defined], b[defined]
