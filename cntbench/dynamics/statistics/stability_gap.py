"""How much more stable the order of spreaders is than that of gatherers, both among peers.

The mean of τ_spreaders − τ_gatherers over time, τ between the orders at each checkpoint and some
checkpoints later (`cntbench.dynamics.orders.stability`). Only peers are compared, so that it does
not matter how many layers apart spreaders or gatherers stand, nor how many there are of each: τ's
mean does not depend on the number of pairs.

Noise alone makes an order less stable, and more so the order of those whose strengths are measured
less well; ``frozen`` has that noise and no change. Its null model ``sign_flips`` asks the other
question, whether the gap is more than a fluctuation in time: under the hypothesis that both orders
are equally stable, stretches of the film in which spreaders are the stabler ones are as likely as
others. It is a statement about this film; whether it holds for others like it, seeds must say.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.orders import stability
from cntbench.dynamics.resampling import flipped_means
from cntbench.dynamics.statistics._base import Statistic, lag_of
from cntbench.dynamics.undefined import Undefined
from cntbench.specs import spec


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    lag
        Time between the two orders, as a part of the film.
    """

    lag: Annotated[float, Field(gt=0, le=0.1)]

    needs: ClassVar[int] = 24
    own_nulls: ClassVar[dict[str, str]] = {
        "sign_flips": "The gap's sign is random in every stretch of the film."
    }

    def series(self, film: Film) -> Array:
        """Return the gap between each checkpoint and the one that is the lag later."""
        lag = lag_of(film, self.lag)
        gap = stability(film, "spreader", "peers", lag) - stability(film, "gatherer", "peers", lag)
        if not len(gap) or np.isnan(gap[0]):
            raise Undefined("there are no peers among spreaders, or none among gatherers")
        return np.asarray(gap)

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return means of the gap with random signs of its stretches."""
        return flipped_means(self.series(film), self.block(film), rng, size)

    def block(self, film: Film) -> int:
        """Return more than twice the lag: orders that overlap depend on each other."""
        return max(super().block(film), 2 * lag_of(film, self.lag) + 1)
