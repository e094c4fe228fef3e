"""Agreement of two sets of scores: rank correlation, and overlap of the top ones.

Both are over the entries that are defined (not NaN) in both; for influence these are the feasible
edges.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Return Spearman's ρ, ties sharing their mean rank.

    Returns
    -------
    float
        From −1 to 1; NaN if fewer than two entries are defined, or all scores on a side are equal.
    """
    a, b = _both(one, other)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.clip(np.corrcoef(rankdata(a), rankdata(b))[0, 1], -1, 1))


def top_overlap(one: ArrayLike, other: ArrayLike, k: int) -> float:
    """Return the weighted Jaccard index of the top k: Σ min(v, w) / Σ max(v, w).

    An entry's weights v and w by either side are 1 above the k-th largest score and 0 below it;
    entries equal to it share the places that are left. Without ties this is the Jaccard index of
    the two sets.

    Returns
    -------
    float
        From 0 to 1, symmetric in the two sides; NaN if fewer than k entries are defined.
    """
    a, b = _both(one, other)
    if not 1 <= k <= len(a):
        return np.nan
    mine, theirs = _membership(a, k), _membership(b, k)
    return float(np.minimum(mine, theirs).sum() / np.maximum(mine, theirs).sum())


def _membership(scores: Array, k: int) -> Array:
    threshold = np.partition(scores, -k)[-k]
    above, at = scores > threshold, scores == threshold
    return above + at * ((k - above.sum()) / at.sum())


def _both(one: ArrayLike, other: ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"scores of shapes {a.shape} and {b.shape} cannot be compared")
    defined = ~(np.isnan(a) | np.isnan(b))
    return a[defined], b[defined]
