"""Learning junctures: where a readout changes most, and how near phase boundaries are."""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.phases import Phases
from cntbench.plugins import find

#: Length of the window, as a share of the film.
WINDOW = 0.08
#: Smallest improvement in the window: as a share of the readout's range over the film, and in
#: standard errors.
PART, ERRORS = 0.3, 5.0
#: What `align` returns, by name.
ALIGNMENT = {
    "readout_step": "step in the middle of the window in which the readout changes most",
    "readout_distance": "boundary minus that, in checkpoints",
    "readout_chance": "part of all windows of that length whose middles are as near to a boundary",
}


def window(film: Film) -> int:
    """Return the length of the window, in transitions."""
    return max(2, round(WINDOW * len(film)))


def juncture(film: Film, readout: str) -> slice:
    """Return the transitions of the window in which a readout improves most.

    Raises an `Undefined` if the improvement is a small share of the readout's range, or within its
    standard errors, or if these are unknown.

    Returns
    -------
    slice
        Transitions; ``start`` and ``stop`` are the checkpoints at the ends of the window.
    """
    values = film.readout(readout)
    errors = film.readout_errors[film.readout_names.index(readout)]
    size = window(film)
    gains = (values[size:] - values[:-size]) * find("readout", readout).BETTER
    if not len(gains):
        raise Undefined(f"needs {size + 1} checkpoints, has {len(film)}")
    if np.isnan(values).any():
        raise Undefined(f"{readout} is not defined at every checkpoint")
    start = int(gains.argmax())
    largest, extent = float(gains[start]), float(np.ptp(values))
    noise = float(np.hypot(errors[start], errors[start + size]))
    if largest <= 0 or largest < PART * extent:
        part = (
            f": its steepest improvement is {largest / extent:.0%} of its range" if extent else ""
        )
        raise Undefined(f"{readout} has no learning juncture{part}")
    if np.isnan(noise):
        raise Undefined(f"the standard errors of {readout} were not measured")
    if largest < ERRORS * noise:
        raise Undefined(
            f"{readout} has no learning juncture: its steepest improvement is within its noise"
        )
    return slice(start, start + size)


def align(film: Film, phases: Phases) -> dict[str, Array]:
    """Return where phase boundaries lie relative to each readout's steepest change.

    Returns
    -------
    dict
        The names of `ALIGNMENT`, dims ``readout``; for the distance ``readout, boundary``. NaN
        where a readout is undefined or constant. Without boundaries, the chance is NaN too.
    """
    step = np.full(len(film.readout_names), np.nan)
    distance = np.full((len(film.readout_names), len(phases.boundaries)), np.nan)
    chance = np.full(len(film.readout_names), np.nan)
    size = window(film)
    # A boundary lies between two checkpoints.
    boundaries = phases.boundaries - 0.5
    middles = np.arange(len(film) - size) + size / 2
    nearest = np.abs(middles[:, None] - boundaries).min(axis=1, initial=np.inf)
    for index, readout in enumerate(film.readout_names):
        values = film.readout(readout)
        change = np.abs(values[size:] - values[:-size])
        if not len(change) or np.isnan(values).any() or not change.max():
            continue
        at = int(change.argmax())
        step[index] = np.interp(middles[at], np.arange(len(film)), film.step)
        distance[index] = boundaries - middles[at]
        if len(boundaries):
            chance[index] = (nearest <= nearest[at]).mean()
    return dict(zip(ALIGNMENT, (step, distance, chance), strict=True))
