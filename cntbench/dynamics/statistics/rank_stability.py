"""How far the order of spreaders or of gatherers is still the same some time later: Kendall's τ.

The mean of τ_a between the orders by strength at each checkpoint and some checkpoints later
(`cntbench.dynamics.orders.stability`), late in the film: 1 if the order does not change any more, 0
if it is forgotten. Among all components much of it is architecture, which the null model
``layer_pairs`` keeps; among peers none of it is. Source: Kendall 1938, "A new measure of rank
correlation".

An order also lasts for a while where everything changes slowly: what counts as stable is the lag.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.orders import Among, stability
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

    def series(self, film: Film) -> Array:
        """Return τ of each of the last checkpoints with the one that is the lag later."""
        late = film.take(slice(len(film) - lag_of(film, self.last), None))
        lag = lag_of(film, self.lag)
        found = stability(late, self.role, self.among, lag) if lag < len(late) else np.empty(0)
        if not len(found) or np.isnan(found[0]):
            raise Undefined(f"there are no two {self.role}s among {self.among} to compare")
        return found

    def block(self, film: Film) -> int:
        """Return at least the lag: pairs of orders that overlap depend on each other."""
        return max(super().block(film), lag_of(film, self.lag))
