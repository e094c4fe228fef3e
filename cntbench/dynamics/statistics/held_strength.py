"""How much less components' strengths change over long times than slow change would have them do.

1 − V, where V is the variance ratio of the components' strengths, late in the film: their mean
squared change over half of that time, divided by what as many independent steps would add up to. It
is near 1 for strengths that fluctuate around levels that they keep; about −0.4 for random walks,
whatever their pace (0, but for the averages over stretches: Working 1960, "Note on the correlation
of first differences of averages in a random chain"); and far below for a drift, whose steps go the
same way. Strengths are logarithms of a component's share among its peers, for gatekeepers
betweenness itself (`cntbench.dynamics.orders`), averaged over `STRETCHES` stretches of checkpoints,
so that noise of measurement is small beside what lasts.

Any order lasts for a while if everything changes slowly: this statistic tells an order that is held
from one that merely has not changed yet. Its null model ``random_steps`` gives the step from each
stretch to the next, of all components together, a random sign.

Source: Lo and MacKinlay 1988, "Stock market prices do not follow random walks: evidence from a
simple specification test" (variance ratio).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.orders import Role, groups, pairs, strengths
from cntbench.dynamics.resampling import null_interval
from cntbench.dynamics.statistics._base import Statistic, lag_of
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
    limits: ClassVar[tuple[float, float]] = (-np.inf, 1)

    def series(self, film: Film) -> Array:
        """Return what each long change contributes."""
        steps = self._steps(film)
        far = STRETCHES // 2
        changes = np.square(_sums(steps, far)).sum(axis=-1)
        return np.asarray(1 - changes / (far * np.square(steps).sum(axis=-1).mean()))

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the statistic after random signs of the steps."""
        steps = self._steps(film)
        far = STRETCHES // 2
        drawn = steps * rng.choice([-1.0, 1.0], (size, len(steps), 1))
        changes = np.square(_sums(drawn, far)).sum(axis=-1).mean(axis=-1)
        return np.asarray(1 - changes / (far * np.square(steps).sum(axis=-1).mean()))

    def bounds(self, series: Array, drawn: Array) -> tuple[float, float]:
        """Return an interval as wide as the null distribution, since long changes are few."""
        return null_interval(float(series.mean()), drawn)

    def _steps(self, film: Film) -> Array:
        """Return changes from each stretch to the next, dims ``step, component``."""
        late = film.take(slice(len(film) - lag_of(film, self.last), None))
        members = np.unique(pairs(late, self.role, "peers"))
        strength = strengths(late, self.role)[:, members]
        # Betweenness is a share as it is, and 0 for most; other strengths have no natural unit.
        shares = self.role == "gatekeeper"
        if len(late) < STRETCHES or not len(members) or not (shares or (strength > 0).all()):
            raise Undefined(f"{self.role}s have no peers, or send and receive nothing at times")
        parts = np.array_split(strength if shares else np.log(strength), STRETCHES)
        levels = np.array([part.mean(axis=0) for part in parts])
        group = groups(late)[members]
        for number in np.unique(group):
            peers = group == number
            levels[:, peers] -= levels[:, peers].mean(axis=1, keepdims=True)
        steps = np.diff(levels, axis=0)
        if not steps.any():
            raise Undefined(f"the strengths of {self.role}s never change")
        return np.asarray(steps)


def _sums(steps: Array, count: int) -> Array:
    """Return sums of ``count`` neighbours, dims ``…, first step, component``."""
    sums = np.cumsum(np.concatenate([np.zeros_like(steps[..., :1, :]), steps], axis=-2), axis=-2)
    return np.asarray(sums[..., count:, :] - sums[..., :-count, :])
