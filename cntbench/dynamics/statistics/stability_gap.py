"""How much more stable the order of spreaders is than that of gatherers, both among peers.

The mean of τ_spreaders − τ_gatherers over time, with τ between the orders at each checkpoint and a
lag later (`cntbench.dynamics.orders.stability`). Only peers are compared, so it does not matter how
many layers apart spreaders or gatherers are, nor how many there are of each: τ's mean does not
depend on the number of pairs.

Noise alone makes an order less stable, all the more so if its strengths are measured less
precisely; ``frozen`` has that noise and no change. Its null model ``sign_flips`` asks the other
question, whether the gap is more than a fluctuation in time: if both orders are equally stable,
either of them is equally likely to be the more stable one in any stretch of the film. The result
holds for this film; other seeds must show whether it holds for films like it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.orders import stability
from cntbench.dynamics.resampling import flipped_means
from cntbench.dynamics.statistics._base import Statistic, lag_of
from cntbench.specs import spec


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
    own_nulls: ClassVar[dict[str, str]] = {
        "sign_flips": "The gap's sign is random in every stretch of the film."
    }

    def series(self, film: Film) -> Array:
        """Return the gap between each checkpoint and the one a lag later."""
        lag = lag_of(film, self.lag)
        gap = stability(film, "spreader", "peers", lag) - stability(film, "gatherer", "peers", lag)
        if not len(gap) or np.isnan(gap[0]):
            raise Undefined("there are no peers among spreaders, or none among gatherers")
        return np.asarray(gap)

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return means of the gap with a random sign for each of its stretches."""
        return flipped_means(self.series(film), self.block(film), rng, size)

    def block(self, film: Film) -> int:
        """Return more than twice the lag, since overlapping orders depend on each other."""
        return max(super().block(film), 2 * lag_of(film, self.lag) + 1)
