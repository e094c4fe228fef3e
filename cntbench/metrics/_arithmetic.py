"""Division where the divisor may be 0, and the tolerance within which numbers are equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Numbers are tied if they differ by at most this part of their size, so that rounding decides
#: nothing: lengths of paths, strengths that are ranked, gains in modularity (whose size is 1),
#: draws of null models. Noise that is a smaller part of a weight counts as none.
TIE = 1e-9


def divide(number: ArrayLike, by: ArrayLike, otherwise: float = np.nan) -> NDArray[np.float64]:
    """Return quotients, broadcast, and ``otherwise`` where the divisor is not positive."""
    quotient = np.full(np.broadcast_shapes(np.shape(number), np.shape(by)), otherwise)
    return np.divide(number, by, out=quotient, where=np.asarray(by) > 0)
