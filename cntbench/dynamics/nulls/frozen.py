"""One graph for all checkpoints, measured with noise at the standard errors.

Keeps the mean graph over the checkpoints. Randomises nothing but the measurement: each weight is
drawn, at each checkpoint by itself, with the mean graph's value as its mean and the standard error
reported there as its standard deviation. Asks: would a model that does not change look like this,
for the noise of measurement alone?

The noise is gamma-distributed, because influence is a mean over prompts that is never negative, and
independent over edges and checkpoints. In a run, edges and checkpoints share their prompts, and so
part of their noise: sums over edges scatter more than here, and changes from one checkpoint to the
next, for a model that hardly changes, less.

A standard error that is undefined (a single prompt) makes the weight undefined.
"""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.noise import measured


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return the mean graph, measured anew at every checkpoint."""
    present = ~np.isnan(film.weights)
    count = present.sum(axis=0)
    total = np.where(present, film.weights, 0.0).sum(axis=0)
    graph = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return measured(np.where(present, graph, np.nan), film.errors, rng, size)
