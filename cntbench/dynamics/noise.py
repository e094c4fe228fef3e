"""The noise of measurement: what a weight of known value would be measured as."""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array
from cntbench.metrics._ties import TIE


def measured(mean: Array, error: Array, rng: np.random.Generator, size: int | None = None) -> Array:
    """Draw weights as they are measured: gamma-distributed, independently of each other.

    Influence is a mean over prompts of what is never negative, so its noise is not normal near 0;
    a gamma distribution has the right mean and standard deviation, and no negative values.

    Parameters
    ----------
    mean, error
        True weights, and the standard errors at which they are measured, of the same shape. Where
        the one or the other is NaN, so is the result. A weight of 0 has no noise.
    rng
        Source of chance.
    size
        Number of draws, along a new first dim; without it there is one, and no such dim.
    """
    lead = () if size is None else (size,)
    drawn = np.broadcast_to(np.where(np.isnan(error), np.nan, mean), (*lead, *mean.shape)).copy()
    noisy = (mean > 0) & (error > TIE * mean)
    shape = (mean[noisy] / error[noisy]) ** 2
    scale = error[noisy] ** 2 / mean[noisy]
    drawn[..., noisy] = rng.standard_gamma(np.broadcast_to(shape, (*lead, len(shape)))) * scale
    return drawn
