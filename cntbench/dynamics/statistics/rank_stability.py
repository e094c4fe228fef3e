"""How far the order of spreaders or of gatherers is still the same some time later: Kendall's τ.

The mean of τ_a between the orders by strength at each checkpoint and some checkpoints later
(`cntbench.dynamics.orders.stability`), late in the film: 1 if the order does not change any more, 0
if it is forgotten. Among all components much of it is architecture, which the null model
``layer_pairs`` keeps; among peers none of it is. Source: Kendall 1938, "A new measure of rank
correlation".

That an order lasts for a while is no surprise where everything changes slowly. Its null model
``wandering`` asks for more: each component makes the steps that it does make, but in directions of
chance, so that its place is not held. It takes the logarithm of each strength over its peers' mean,
cuts its course into stretches, and gives each stretch's displacements a random sign; an order that
is as stable as in the film is then one that comes of slow change alone. Stretches, not single steps,
because noise of measurement, which does not add up, would make single steps too long. Source: Fisher
1935, "The design of experiments" (randomisation of signs), by blocks as in Carlstein 1986.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.orders import Among, compare, groups, kendall, pairs, strengths
from cntbench.dynamics.resampling import block_length
from cntbench.dynamics.roles import Role
from cntbench.dynamics.statistics._base import Statistic, lag_of
from cntbench.dynamics.undefined import Undefined
from cntbench.specs import spec


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    role
        Whose order.
    among
        Whether all components are compared, or only peers.
    lag
        Time between the two orders, as a part of the film.
    last
        The part of the film that is looked at, its end.
    """

    role: Role
    among: Among
    lag: Annotated[float, Field(gt=0, le=0.5)]
    last: Annotated[float, Field(gt=0, le=1)] = 0.5

    needs: ClassVar[int] = 24
    own_nulls: ClassVar[dict[str, str]] = {
        "wandering": "Strengths make the same steps in directions of chance."
    }

    def series(self, film: Film) -> Array:
        """Return τ of each of the last checkpoints with the one that is the lag later."""
        late = film.take(slice(len(film) - lag_of(film, self.last), None))
        two = pairs(film, self.role, self.among)
        lag = lag_of(film, self.lag)
        if not len(two) or lag >= len(late):
            raise Undefined(f"there are no two {self.role}s among {self.among} to compare")
        return kendall(compare(strengths(late, self.role), two), lag)

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return mean τ of strengths that wander from where the late part begins."""
        late = film.take(slice(len(film) - lag_of(film, self.last), None))
        two = pairs(film, self.role, self.among)
        course = _over_peers(late, self.role)
        step = np.diff(course, axis=0)
        length = block_length(len(film))
        stretches = -(-len(step) // length)
        found = np.empty(size)
        for draw in range(size):
            signs = rng.choice([-1.0, 1.0], (stretches, course.shape[1])).repeat(length, axis=0)
            walk = np.concatenate([course[:1], signs[: len(step)] * step]).cumsum(axis=0)
            found[draw] = kendall(compare(walk, two), lag_of(film, self.lag)).mean()
        return found

    def block(self, film: Film) -> int:
        """Return at least the lag: pairs of orders that overlap depend on each other."""
        return max(super().block(film), lag_of(film, self.lag))


def _over_peers(film: Film, role: Role) -> Array:
    """Return logarithms of strengths over their peers' geometric mean, dims as the strengths."""
    least = np.finfo(np.float64).tiny
    values = np.log(np.maximum(strengths(film, role), least))
    group = groups(film)
    member = (group[:, None] == np.unique(group)).astype(np.float64)
    return values - values @ member / member.sum(axis=0) @ member.T
