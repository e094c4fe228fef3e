"""Division by numbers that may be 0, and the tolerance within which numbers are equal."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Relative tolerance within which numbers are tied, so that rounding decides nothing: path lengths,
#: ranked strengths, gains in modularity (absolute), draws of null models. Noise below this fraction
#: of a weight counts as none.
TIE = 1e-9


def divide(number: ArrayLike, by: ArrayLike, otherwise: float = np.nan) -> NDArray[np.float64]:
    """Return the broadcast quotients; ``otherwise`` where the divisor is not positive."""
    by = np.asarray(by)
    positive = by > 0
    if positive.all():  # masks cost more than divisions
        return np.asarray(np.divide(number, by, dtype=np.float64))
    quotient = np.asarray(np.divide(number, np.where(positive, by, 1), dtype=np.float64))
    np.copyto(quotient, otherwise, where=~positive)
    return quotient
