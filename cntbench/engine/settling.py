"""Measuring prompts ends once the standard errors of the strongest edges are small.

Prompts are measured in order: first `FIRST` of them, then batches that double the number. After
each batch, the strongest edges of every ablation are those with the largest influence so far. The
numbers are those of a study of the measured prompts, except that the means over all prompts, which
some replacements take, include every prompt of the task. An error that is checked repeatedly until
it is small is stated a little too small: 0.93 to 1.00 of what it is for ten edges or more with
normal noise, 0.88 if skewed noise is shared by all edges, 0.84 for a single edge
(``docs/calibration.md``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cntbench.engine.arrays import Array

#: Number of prompts in the first batch: from fewer, a standard error says little.
FIRST = 8
#: Number of edges of each ablation whose errors count.
STRONGEST = 10


def batches(count: int) -> Iterator[slice]:
    """Yield the rows of the prompts to measure, one batch after the other.

    Examples
    --------
    >>> [(rows.start, rows.stop) for rows in batches(40)]
    [(0, 8), (8, 16), (16, 32), (32, 40)]
    """
    start, stop = 0, min(FIRST, count)
    while start < count:
        yield slice(start, stop)
        start, stop = stop, min(2 * stop, count)


def settled(influence: Array, error: Array, limit: float) -> bool:
    """Return whether the errors of the strongest edges of every ablation are below a limit.

    ``influence`` and ``error`` have the dims ``ablation, source, target``.
    """
    for weights, errors in zip(influence, error, strict=True):
        edges = np.flatnonzero(~np.isnan(weights))
        order = np.argsort(-weights.ravel()[edges], kind="stable")[:STRONGEST]
        if not (errors.ravel()[edges[order]] < limit).all():
            return False
    return True
