"""How much of the order of components in one role remains after a lag: Kendall's τ.

The mean of τ_a between the order by strength at each checkpoint and the order a lag later
(`cntbench.dynamics.orders.stability`), late in the film: 1 if the order no longer changes, 0 if
nothing of it remains. Among all components, the order is largely architecture, which the null model
``layer_pairs`` keeps; among peers, it is not. Source: Kendall 1938, "A new measure of rank
correlation".

Any order lasts for a while if everything changes slowly, so the lag defines what counts as stable.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.orders import Among, Role, stability
from cntbench.dynamics.statistics._base import Statistic, lag_of
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
        Time between the two orders, as a share of the film.
    last
        Share of the film that is used, at its end.
    """

    role: Role
    among: Among
    lag: Annotated[float, Field(gt=0, le=0.5)]
    last: Annotated[float, Field(gt=0, le=1)] = 0.5

    needs: ClassVar[int] = 24
    limits: ClassVar[tuple[float, float]] = (-1, 1)

    def series(self, film: Film) -> Array:
        """Return τ of each of the last checkpoints with the one a lag later."""
        late = film.late(lag_of(film, self.last))
        lag = lag_of(film, self.lag)
        tau = stability(late, self.role, self.among, lag) if lag < len(late) else np.empty(0)
        if not len(tau) or np.isnan(tau[0]):
            raise Undefined(f"there are no two {self.role}s among {self.among} to compare")
        return tau
