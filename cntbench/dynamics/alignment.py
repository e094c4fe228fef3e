"""Where readouts change most, and how near the boundaries of phases lie to that."""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.junctures import window
from cntbench.dynamics.phases import Phases
from cntbench.specs import READOUTS

ALIGNMENT = {
    "readout_step": "step in the middle of the window in which the readout changes most",
    "readout_distance": "boundary minus that, in checkpoints",
    "readout_chance": "part of the checkpoints that lie at least as near to a boundary",
}


def align(film: Film, phases: Phases) -> dict[str, Array]:
    """Return how boundaries lie to each readout's steepest change.

    Parameters
    ----------
    film
        Its readouts.
    phases
        Its phases.

    Returns
    -------
    dict
        By name as in `ALIGNMENT`: dims ``readout``, and for the distance ``readout, boundary``. NaN
        where a readout is not defined or does not change, and the chance without boundaries.
    """
    step = np.full(len(READOUTS), np.nan)
    distance = np.full((len(READOUTS), len(phases.boundaries)), np.nan)
    chance = np.full(len(READOUTS), np.nan)
    size = window(film)
    # A boundary lies between two checkpoints.
    boundaries = phases.boundaries - 0.5
    nearest = np.abs(np.arange(len(film))[:, None] - boundaries).min(axis=1, initial=np.inf)
    for place, name in enumerate(READOUTS):
        values = film.readout(name)
        change = np.abs(values[size:] - values[:-size])
        if not len(change) or np.isnan(values).any() or not change.max():
            continue
        middle = int(change.argmax()) + size / 2
        step[place] = np.interp(middle, np.arange(len(film)), film.step)
        distance[place] = boundaries - middle
        if len(boundaries):
            chance[place] = (nearest <= np.abs(distance[place]).min()).mean()
    return dict(zip(ALIGNMENT, (step, distance, chance), strict=True))
