"""How much heavier than exponential the tail of the edge weights is, in nat per edge of the tail.

The tail is the larger half of the weights (`cntbench.metrics.tail`). The statistic is the
logarithmic likelihood ratio, per edge, of the better of log-normal and power law to the
exponential, with a sign: + if the tail is more dispersed than an exponential one, − otherwise.
Without the sign, tails *shorter* than exponential, such as those of uniform or normal weights,
would count as long, because a log-normal fits them better too. The dispersion is the coefficient of
variation of the excess over the tail's smallest weight, 1 for an exponential.

With ``within = "peers"``, weights are first divided by the median weight between the same two
groups of components (layer and kind). A mean of four weights would mostly be the largest of them
and cap it. The division removes what architecture alone adds to the tail: a mixture of exponential
distributions with different means has a longer tail than each of them.

Its null model ``exponential`` draws all weights from one exponential distribution, and with
``within = "peers"`` divides them in the same way. The statistic does not depend on the mean of the
distribution or, if weights are divided, on the means of the groups. Checkpoints are alike, so one
draw serves for all.

Source: Clauset, Shalizi and Newman 2009, "Power-law distributions in empirical data" (likelihood
ratio, parametric bootstrap); del Castillo, Daoudi and Lockhart 2014, "Methods to distinguish
between polynomial and exponential tails" (coefficient of variation of the excess).
"""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.orders import groups
from cntbench.dynamics.statistics._base import Statistic, lag_of
from cntbench.metrics.tail import larger_half, ratios
from cntbench.specs import spec

#: Log-normal weights with a coefficient of variation of 2, and draws of them.
_SIGMA, _DRAWS = 1.27, 400


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    within
        Whether weights are used as they are, or divided by the median of their group.
    last
        Share of the film that is used, at its end.
    """

    within: Literal["all", "peers"]
    last: Annotated[float, Field(gt=0, le=1)] = 0.25

    needs: ClassVar[int] = 1
    own_nulls: ClassVar[dict[str, str]] = {
        "exponential": "All weights are exponentially distributed, with one mean for each group."
    }
    few_moments: ClassVar[bool] = True
    units: ClassVar[str] = "nat per edge"

    def series(self, film: Film) -> Array:
        """Return the signed ratio at each of the last checkpoints."""
        weights, group = self._edges(film)
        ratio = signed_ratio(_over_medians(weights, group))
        if np.isnan(ratio).any():
            raise Undefined("a tail of fewer than 10 edges, or of equal weights, has no shape")
        return ratio

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the signed ratio of exponential weights."""
        weights, group = self._edges(film)
        present = weights[-1] > 0
        drawn = rng.exponential(size=(size, int(present.sum())))
        return signed_ratio(_over_medians(drawn, group[present]))

    def spread(self, film: Film, rng: np.random.Generator) -> Array:
        """Return the signed ratio of log-normal weights, which scatters more."""
        weights, group = self._edges(film)
        present = weights[-1] > 0
        drawn = rng.lognormal(0, _SIGMA, (_DRAWS, int(present.sum())))
        return signed_ratio(_over_medians(drawn, group[present]))

    def _edges(self, film: Film) -> tuple[Array, NDArray[np.int64]]:
        """Return weights, dims ``checkpoint, edge``, and their groups; one group unless divided.

        An edge that is alone between two groups is left out: divided by its own median, it is 1.
        """
        weights = film.weights[-lag_of(film, self.last) :, film.feasible]
        if self.within == "all":
            return weights, np.zeros(weights.shape[1], dtype=np.int64)
        ends = groups(film)
        pair = (ends[:, None] * (int(ends.max()) + 1) + ends)[film.feasible]
        _, group, size = np.unique(pair, return_inverse=True, return_counts=True)
        shared = size[group] > 1
        return weights[:, shared], group[shared]


def signed_ratio(weights: Array) -> Array:
    """Return the statistic of each set of weights, dims ``…, edge`` → ``…``.

    Weights are 0 where there is no edge. NaN where the tail has no shape.
    """
    graph = weights[..., None, :]
    better = np.fmax(ratios(graph, "power law").mean, ratios(graph, "log-normal").mean)
    ranked, tail = larger_half(weights)
    smallest = np.where(tail, ranked, np.inf).min(axis=-1, keepdims=True, initial=np.inf)
    excess = np.subtract(ranked, smallest, out=np.zeros_like(ranked), where=tail)
    count = np.maximum(tail.sum(axis=-1), 1)
    mean = excess.sum(axis=-1) / count
    variance = np.square(excess).sum(axis=-1) / count - mean**2
    return np.asarray(np.where(variance > mean**2, better, -np.abs(better)))


def _over_medians(weights: Array, group: NDArray[np.int64]) -> Array:
    """Divide weights, dims ``…, edge``, by the median of the nonzero weights of their group."""
    divided = np.zeros_like(weights)
    for number in np.unique(group):
        members = group == number
        present = np.where(weights[..., members] > 0, weights[..., members], np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a group without edges
            median = np.nanmedian(present, axis=-1, keepdims=True)
        divided[..., members] = np.nan_to_num(present / median)
    return divided
