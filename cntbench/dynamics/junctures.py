"""Learning junctures: where a readout improves most, and whether that is learning at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cntbench.dynamics.film import Film
from cntbench.dynamics.undefined import Undefined
from cntbench.specs import Readout

#: Length of the window, as a part of the film.
WINDOW = 0.08
#: The improvement in the window is at least this part of the readout's range over the film, and at
#: least so many of its standard errors.
PART, ERRORS = 0.3, 5.0
#: The direction in which a readout improves.
BETTER: Mapping[Readout, int] = {"cross_entropy": -1, "accuracy": 1, "logit_difference": 1}


def window(film: Film) -> int:
    """Return the length of the window, in transitions."""
    return max(2, round(WINDOW * len(film)))


def juncture(film: Film, readout: Readout) -> slice:
    """Return the transitions of the window in which a readout improves most.

    Parameters
    ----------
    film
        Its readouts.
    readout
        Which.

    Returns
    -------
    slice
        Of transitions: ``start`` and ``stop`` are also the checkpoints at its ends.

    Raises
    ------
    Undefined
        If that is no juncture: it is a small part of the readout's range, or within its standard
        errors.
    """
    values, errors = film.readout(readout), film.readout_error(readout)
    size = window(film)
    gained = (values[size:] - values[:-size]) * BETTER[readout]
    if np.isnan(values).any() or not len(gained):
        raise Undefined(f"{readout} is not defined at every checkpoint")
    start = int(gained.argmax())
    largest, extent = float(gained[start]), float(np.ptp(values))
    noise = float(np.hypot(errors[start], errors[start + size]))
    if largest <= 0 or largest < PART * extent:
        part = (
            f": its steepest improvement is {largest / extent:.0%} of its range" if extent else ""
        )
        raise Undefined(f"{readout} has no learning juncture{part}")
    if largest < ERRORS * noise:
        raise Undefined(
            f"{readout} has no learning juncture: its steepest improvement is within its noise"
        )
    return slice(start, start + size)
