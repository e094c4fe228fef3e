"""How far the order of spreaders or of gatherers is still the same some time later: Kendall's τ.

The mean of τ_a between the orders by strength at each checkpoint and some checkpoints later
(`cntbench.dynamics.orders.stability`). 1 if the order never changes, 0 if it is forgotten. Among
all components much of it is architecture, which the null model ``layer_pairs`` keeps; among peers
none of it is. Source: Kendall 1938, "A new measure of rank correlation".
"""

from __future__ import annotations

from typing import Annotated

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
    """

    role: Role
    among: Among
    lag: Annotated[float, Field(gt=0, le=0.5)]

    def series(self, film: Film) -> Array:
        """Return τ of each checkpoint with the one that is the lag later."""
        found = stability(film, self.role, self.among, lag_of(film, self.lag))
        if not len(found) or found[0] != found[0]:
            raise Undefined(f"no two {self.role}s can be compared among {self.among}")
        return found
