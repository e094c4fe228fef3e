"""Stability of influence over resamples of the prompts.

Circuits vary with the prompts. Prompts are drawn with replacement; values that a replacement takes
from all prompts, such as a mean, are not recomputed. The circuit of a resample is the top tenth of
the feasible edges, and two circuits are compared by their Jaccard index
(`cntbench.comparison.agreement.top_overlap`).

A method settles at the smallest of the `NUMBERS` of prompts from which on two independent resamples
of that size have circuits with a mean Jaccard index of at least `SETTLED`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cntbench.analysis.recovery import RESOLUTION, Recovery, tied
from cntbench.comparison.agreement import TOP_EDGES, top_count, top_overlap
from cntbench.dynamics.resampling import TAIL
from cntbench.prompts import random_state

#: Sizes of a resample [prompts].
NUMBERS = (2, 4, 8, 16, 32, 64, 128)
#: Pairs of resamples of each size.
PAIRS = 20
#: Resamples of the prompts of planted models.
RESAMPLES = 200
#: Jaccard index from which on circuits count as the same.
SETTLED = 0.8

Array = NDArray[np.float64]


def resampled(by_prompt: Array, size: int, draws: int, seed: int) -> Array:
    """Return means over resamples of the last dim, dims ``draw`` and the others."""
    count = by_prompt.shape[-1]
    state = random_state(seed, f"resamples of {size} prompts")
    weights = state.multinomial(size, np.full(count, 1 / count), draws) / size
    means: Array = np.moveaxis(by_prompt @ weights.T, -1, 0)
    return means


def circuit_overlap(by_prompt: Array, size: int, *, signed: bool = False, seed: int = 0) -> float:
    """Return the mean Jaccard index of the circuits of two resamples; NaN of a single prompt.

    Parameters
    ----------
    by_prompt
        Influence, dims ``source, target, prompt``.
    signed
        Whether edges are ranked by the absolute value of the mean.
    """
    if by_prompt.shape[-1] < 2:  # all its resamples are the same
        return np.nan
    means = resampled(by_prompt, size, 2 * PAIRS, seed)
    means = abs(means) if signed else means
    count = top_count(means[0], TOP_EDGES)
    pairs = zip(means[::2], means[1::2], strict=True)
    return float(np.mean([top_overlap(first, second, count) for first, second in pairs]))


def score_intervals(
    records: Sequence[Recovery], truths: Sequence[str], ablations: Sequence[str]
) -> Array:
    """Return the ends of the 95 % interval of mean AUROCs over resamples of the prompts.

    The mean is that of a score: over the circuits, each with the mean of its models.

    Parameters
    ----------
    truths
        Names of the arrays of true edges in a record; an empty name gives NaN.

    Returns
    -------
    Array
        Dims ``end, truth, ablation``.
    """
    ends = np.full((2, len(truths), len(ablations)), np.nan)
    for at, name in enumerate(ablations):
        used = [r for r in records if r.ablation == name and r.by_prompt is not None]
        for row, truth in enumerate(truths):
            known = [(r, edges) for r in used if (edges := r.truth(truth)) is not None]
            of_circuits: dict[str, list[Array]] = {}
            for number, (record, edges) in enumerate(known):
                aurocs = _resampled_auroc(record, edges, seed=number)
                if not np.isnan(aurocs).any():
                    of_circuits.setdefault(record.circuit, []).append(aurocs)
            if of_circuits:
                means = [np.mean(models, axis=0) for models in of_circuits.values()]
                ends[:, row, at] = np.quantile(np.mean(means, axis=0), [TAIL, 1 - TAIL])
    return ends


def _resampled_auroc(record: Recovery, truth: NDArray[np.bool_], seed: int) -> Array:
    """Return the AUROC of every resample from the ranks of true edges (Mann & Whitney 1947)."""
    assert record.by_prompt is not None
    feasible = ~np.isnan(record.scores)
    values = record.by_prompt[feasible]
    scores = abs(resampled(values, values.shape[-1], RESAMPLES, seed))
    true = np.asarray(truth)[feasible]
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return np.full(RESAMPLES, np.nan)
    from scipy.stats import rankdata  # takes a second, and showing a result does not need it

    ranks = rankdata(tied(np.where(scores < RESOLUTION, 0.0, scores)), axis=1)
    above: Array = ranks[:, true].sum(axis=1) - positive * (positive + 1) / 2
    return above / (positive * negative)


def settled_at(numbers: Sequence[int], overlaps: Array) -> float:
    """Return the number of prompts from which on circuits overlap by `SETTLED`; NaN if none does.

    Examples
    --------
    >>> settled_at([2, 4, 8], np.array([0.3, 0.8, 0.9]))
    4.0
    """
    below = np.flatnonzero(~(overlaps >= SETTLED))
    start = below[-1] + 1 if len(below) else 0
    return float(numbers[start]) if start < len(numbers) else np.nan
