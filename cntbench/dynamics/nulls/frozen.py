"""One graph for all checkpoints, measured with noise at the standard errors.

Keeps the mean graph over the checkpoints. Randomises only the measurement: each weight is drawn
independently at each checkpoint; its mean is the mean graph's value and its standard deviation the
standard error reported there. Asks: would a model that does not change look like this because of
measurement noise alone?

The noise is gamma-distributed, because influence is a mean over prompts and never negative, and
independent over edges and checkpoints. In a run, edges and checkpoints share prompts and thus part
of their noise: sums over edges scatter more than here, and changes between checkpoints of a model
that hardly changes scatter less.

Where a standard error is undefined (a single prompt), so is the weight.
"""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.metrics._base import TIE, divide


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return the mean graph, measured anew at every checkpoint."""
    present = ~np.isnan(film.weights)
    graph = divide(np.where(present, film.weights, 0.0).sum(axis=0), present.sum(axis=0))
    return measured(np.where(present, graph, np.nan), film.errors, rng, size)


def measured(mean: Array, error: Array, rng: np.random.Generator, size: int | None = None) -> Array:
    """Draw weights as they are measured: gamma-distributed and independent of each other.

    Influence is a mean over prompts of a number that is never negative, so its noise is not normal
    near 0; a gamma distribution has the right mean and standard deviation and no negative values.

    Parameters
    ----------
    mean, error
        True weights and the standard errors at which they are measured, of the same shape. Where
        either is NaN, so is the result. A weight of 0 has no noise.
    """
    lead = () if size is None else (size,)
    weights = np.broadcast_to(np.where(np.isnan(error), np.nan, mean), (*lead, *mean.shape)).copy()
    noisy = (mean > 0) & (error > TIE * mean)
    shape = (mean[noisy] / error[noisy]) ** 2
    scale = error[noisy] ** 2 / mean[noisy]
    weights[..., noisy] = rng.standard_gamma(np.broadcast_to(shape, (*lead, len(shape)))) * scale
    return weights
