"""How much more stable the order of spreaders is than that of gatherers, both among peers.

The mean of τ_spreaders − τ_gatherers over time, with τ between the order at each checkpoint and the
order a lag later (`cntbench.dynamics.orders.stability`). Only peers are compared, so neither the
layers of spreaders and gatherers nor their numbers matter: τ's mean does not depend on the number
of pairs.

Noise alone makes an order less stable, more so if its strengths are measured less precisely;
``frozen`` has that noise and no change. The statistic's own null models ask two other questions.
``sign_flips``: is the gap more than a fluctuation in time? If both orders are equally stable, each
is equally likely to be the more stable one in any stretch of the film. ``exchanged_roles``: is the
gap more than differences between components? Every component's course, its share of what its peers
send or receive, takes a random place among all courses of spreaders and gatherers. The result holds
for this film; other seeds must show whether it holds for similar films.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.orders import Role, compare, groups, pairs, stability, strengths
from cntbench.dynamics.resampling import FEWEST, block_length, flipped_means, mean_interval
from cntbench.dynamics.roles import ROLES
from cntbench.dynamics.statistics._base import Statistic, lag_of
from cntbench.metrics._base import divide
from cntbench.specs import spec

#: Lags at which the gap is reported, as shares of the film.
LAGS = (0.01, 0.03, 0.06, 0.125, 0.25, 0.5)


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    lag
        Time between the two orders, as a share of the film.
    """

    lag: Annotated[float, Field(gt=0, le=0.1)]

    needs: ClassVar[int] = 24
    limits: ClassVar[tuple[float, float]] = (-2, 2)
    own_nulls: ClassVar[dict[str, str]] = {
        "sign_flips": "The gap's sign is random in every stretch of the film.",
        "exchanged_roles": "A component's course is as likely a spreader's as a gatherer's.",
    }

    def series(self, film: Film) -> Array:
        """Return the gap between each checkpoint and the one a lag later."""
        lag = lag_of(film, self.lag)
        gap = np.subtract(*(stability(film, role, "peers", lag) for role in ROLES))
        if not len(gap) or np.isnan(gap[0]):
            raise Undefined("there are no peers among spreaders, or none among gatherers")
        return np.asarray(gap)

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return means of the gap after a random sign or place for each of its parts."""
        if null == "exchanged_roles":
            return self._exchanged(film, rng, size)
        # More than twice the lag, because overlapping orders depend on each other.
        stretch = max(block_length(len(film)), 2 * lag_of(film, self.lag) + 1)
        return flipped_means(self.series(film), stretch, rng, size)

    def _exchanged(self, film: Film, rng: np.random.Generator, size: int) -> Array:
        """Return means of the gap after a random exchange of courses among all places."""
        lag = lag_of(film, self.lag)
        spreaders, gatherers = (pairs(film, role, "peers") for role in ROLES)
        courses = np.concatenate(
            [_shares(film, "spreader", spreaders), _shares(film, "gatherer", gatherers)], axis=1
        )
        places = [spreaders, gatherers + len(film.names)]
        filled = np.unique(np.concatenate(places))
        first, second = np.triu_indices(len(filled), 1)
        signs = compare(courses[:, filled], np.column_stack([first, second]))
        agreement = np.ones((len(filled), len(filled)))
        agreement[first, second] = agreement[second, first] = (signs[lag:] * signs[:-lag]).mean(0)
        compared = [np.searchsorted(filled, pair).T for pair in places]
        drawn = np.empty(size)
        for number in range(size):
            order = rng.permutation(len(filled))
            spreading, gathering = (agreement[*order[pair]].mean() for pair in compared)
            drawn[number] = spreading - gathering
        return drawn


def over_lags(film: Film) -> Array:
    """Return the gap at each of `LAGS` with its 95 % interval, dims ``lag, (mean, lower, upper)``.

    NaN where the film has no peers or is too short, for an interval also if there are fewer than
    `FEWEST` gaps.
    """
    gaps = np.full((len(LAGS), 3), np.nan)
    for row, share in enumerate(LAGS):
        lag = lag_of(film, share)
        if len(film) - lag >= 2:
            gap = np.subtract(*(stability(film, role, "peers", lag) for role in ROLES))
            if not np.isnan(gap).any():
                bounds = mean_interval(gap) if len(gap) >= FEWEST else (np.nan, np.nan)
                gaps[row] = gap.mean(), *bounds
    return gaps


def _shares(film: Film, role: Role, pair: NDArray[np.int64]) -> Array:
    """Return strengths over the mean of the peers in pairs, dims ``checkpoint, component``."""
    strength, group = strengths(film, role), groups(film)
    shares = np.zeros_like(strength)
    members = np.unique(pair)
    for number in np.unique(group[members]):
        peers = members[group[members] == number]
        mean = strength[:, peers].mean(axis=1, keepdims=True)
        shares[:, peers] = divide(strength[:, peers], mean, 0.0)
    return shares
