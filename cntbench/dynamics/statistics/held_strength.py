"""How much less components' strengths change over long times than slow change would explain.

1 − V, where V is the variance ratio of the components' strengths, late in the film: their mean
squared change over half of that time, divided by that of the same number of independent steps. It
is near 1 for strengths that fluctuate around constant levels; about −0.4 for random walks, whatever
their pace (0 without the averages over stretches: Working 1960, "Note on the correlation of first
differences of averages in a random chain"); and far below for a drift, whose steps have the same
direction. Strengths are logarithms of a component's share among its peers, averaged over
`STRETCHES` stretches of checkpoints to reduce measurement noise. Strengths of gatekeepers are the
betweenness (`cntbench.dynamics.orders`) in the graph of each stretch, whose weights are geometric
means.

Any order lasts for a while if everything changes slowly. This statistic distinguishes an order that
is held from one that has not changed yet. Its null model ``random_steps`` gives the step from each
stretch to the next a random sign, the same for all components. For gatekeepers, these are steps of
the weights' logarithms: betweenness is 0 for most components and stays there even if weights walk.

Source: Lo and MacKinlay 1988, "Stock market prices do not follow random walks: evidence from a
simple specification test" (variance ratio).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.nulls._draws import batches
from cntbench.dynamics.orders import Role, groups, pairs, strengths
from cntbench.dynamics.statistics._base import Statistic, lag_of
from cntbench.metrics import betweenness
from cntbench.metrics._base import divide
from cntbench.metrics._paths import distances
from cntbench.specs import spec

#: Stretches of checkpoints whose mean strengths are compared.
STRETCHES = 12


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    role
        Whose strengths.
    last
        Share of the film that is used, at its end.
    """

    role: Role
    last: Annotated[float, Field(gt=0, le=1)] = 0.5

    needs: ClassVar[int] = 40
    own_nulls: ClassVar[dict[str, str]] = {
        "random_steps": "Strengths take steps of random sign, from each stretch to the next."
    }
    few_moments: ClassVar[bool] = True
    limits: ClassVar[tuple[float, float]] = (-np.inf, 1)

    def series(self, film: Film) -> Array:
        """Return what each long change contributes."""
        return _held(np.diff(self._levels(film), axis=0))

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic after random signs of the steps."""
        if self.role == "gatekeeper":
            return self._walks(self._late(film), rng, size)
        steps = np.diff(self._levels(film), axis=0)
        return _held(steps * rng.choice([-1.0, 1.0], (size, len(steps), 1))).mean(axis=-1)

    def _walks(self, late: Film, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic of gatekeepers in walks of the weights' logarithms."""
        logs = _stretches(_logarithms(late))
        steps, held = np.diff(logs, axis=0, prepend=logs[:1]), []
        for batch in batches(late, size):
            signs = rng.choice([-1.0, 1.0], (batch.stop - batch.start, STRETCHES, 1, 1))
            passing = self._passing(late, logs[0] + np.cumsum(steps * signs, axis=1))
            held.append(_held(np.diff(passing, axis=-2)).mean(axis=-1))
        return np.concatenate(held)

    def _late(self, film: Film) -> Film:
        return film.late(lag_of(film, self.last))

    def _levels(self, film: Film) -> Array:
        """Return strengths relative to peers, dims ``stretch, component``."""
        late = self._late(film)
        members = np.unique(pairs(late, self.role, "peers"))
        strength = strengths(late, self.role)[:, members]
        gatekeepers = self.role == "gatekeeper"
        if len(late) < STRETCHES or not len(members) or not (gatekeepers or (strength > 0).all()):
            raise Undefined(f"{self.role}s have no peers, or send and receive nothing at times")
        if gatekeepers:
            levels = self._passing(late, _stretches(_logarithms(late)))
        else:
            levels = _among_peers(_stretches(np.log(strength)), groups(late)[members])
        if not np.diff(levels, axis=0).any():
            raise Undefined(f"the strengths of {self.role}s never change")
        return levels

    def _passing(self, film: Film, logarithms: Array) -> Array:
        """Return betweenness relative to peers, dims ``…, stretch, component``."""
        members = np.unique(pairs(film, self.role, "peers"))
        weights = np.exp(logarithms)
        passing = betweenness.compute(weights, distance=distances(weights))
        return _among_peers(passing[..., members], groups(film)[members])


def _held(steps: Array) -> Array:
    """Return 1 − V of steps, dims ``…, step, component``, by long change; 1 if none is taken."""
    far = STRETCHES // 2
    changes = np.square(_sums(steps, far)).sum(axis=-1)
    return 1 - divide(changes, far * np.square(steps).sum(axis=-1).mean(axis=-1)[..., None], 0.0)


def _stretches(values: Array) -> NDArray[np.float64]:
    """Return means over stretches of checkpoints, dims ``stretch, …``."""
    return np.array([part.mean(axis=0) for part in np.array_split(values, STRETCHES)])


def _logarithms(film: Film) -> Array:
    """Return logarithms of weights; weights of 0 count as the smallest other one."""
    positive = film.weights[film.weights > 0]
    return np.log(np.maximum(film.weights, positive.min(initial=np.inf)))


def _among_peers(levels: NDArray[np.floating], group: NDArray[np.int64]) -> Array:
    """Return levels, dims ``…, component``, minus the mean of each component's peers."""
    relative = np.array(levels, dtype=np.float64)
    for number in np.unique(group):
        peers = group == number
        relative[..., peers] -= relative[..., peers].mean(axis=-1, keepdims=True)
    return relative


def _sums(steps: Array, count: int) -> Array:
    """Return sums of ``count`` neighbours, dims ``…, first step, component``."""
    sums = np.cumsum(np.concatenate([np.zeros_like(steps[..., :1, :]), steps], axis=-2), axis=-2)
    return np.asarray(sums[..., count:, :] - sums[..., :-count, :])
