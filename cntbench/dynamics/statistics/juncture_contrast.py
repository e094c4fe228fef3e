"""How much more gatherers' roles change at the learning juncture than shortly before and after it.

The juncture is the window of the film in which a readout changes most. At each transition, the
change of roles is the total variation distance between the gatherers' shares of what their group
receives, mean over groups. The statistic is its mean over the transitions of the window less that
over as many before and after it together, over the mean of the film: 0 if nothing special happens,
1 if roles change by a whole film's mean faster. Neighbours before and after take out what changes
slowly in both, such as all being faster early in training.

Groups are peers (`cntbench.dynamics.orders`), so that a shift of influence from one layer to
another is no change of roles; with ``among = "all"`` it is.

Its null model ``circular_shifts`` puts the window elsewhere: the series of changes stays as it is,
with all its autocorrelation, and is moved along the readout, its end joined to its start. Every
shift is taken once, so that p-values are multiples of 1 / number of transitions. Source: Bartlett
1935, "Some aspects of the time-correlation problem", for why unshifted tests are not valid; circular
shifts as in Galán et al. 2010 and Harris 2020, "Nonsense correlations in neuroscience".
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.junctures import juncture
from cntbench.dynamics.orders import Among, groups, strengths
from cntbench.dynamics.statistics._base import Statistic
from cntbench.dynamics.undefined import Undefined
from cntbench.specs import Readout, spec


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    readout
        What has learning junctures.
    among
        Whether roles are shares of what peers receive, or of what all gatherers do.
    """

    readout: Readout
    among: Among

    needs: ClassVar[int] = 24
    own_nulls: ClassVar[dict[str, str]] = {
        "circular_shifts": "The juncture lies anywhere along the series of changes."
    }
    units: ClassVar[str] = "mean change"

    def series(self, film: Film) -> Array:
        """Return each transition's contribution: its change times its weight in the contrast."""
        change = role_change(film, self.among)
        return np.asarray(_contrast(film, self.readout) * change * len(change))

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return the contrast at every shift but none; ``size`` and ``rng`` have no part in it."""
        change = role_change(film, self.among)
        weights = _contrast(film, self.readout)
        return np.array([weights @ np.roll(change, shift) for shift in range(1, len(change))])


def role_change(film: Film, among: Among) -> Array:
    """Return how much gatherers' shares change at each transition over the film's mean.

    Parameters
    ----------
    film
        Its weights.
    among
        Groups within which shares are taken.

    Returns
    -------
    numpy.ndarray
        Dims ``transition``.

    Raises
    ------
    Undefined
        If no group has two gatherers, or shares never change.
    """
    able = film.feasible.any(axis=0)
    group = groups(film) if among == "peers" else np.zeros(len(able), dtype=np.int64)
    received = strengths(film, "gatherer")
    changes = []
    for number in np.unique(group[able]):
        members = received[:, able & (group == number)]
        if members.shape[1] > 1:
            total = members.sum(axis=1, keepdims=True)
            share = np.divide(members, total, out=np.zeros_like(members), where=total > 0)
            changes.append(np.abs(np.diff(share, axis=0)).sum(axis=1) / 2)
    found = np.mean(changes, axis=0) if changes else np.zeros(1)
    if not found.mean():
        raise Undefined("gatherers' shares never change")
    return np.asarray(found / found.mean())


def _contrast(film: Film, readout: Readout) -> Array:
    """Return the weights of the transitions: positive in the window, negative around it."""
    at = juncture(film, readout)
    size = at.stop - at.start
    weights = np.zeros(len(film) - 1)
    before, after = weights[at.start - size : at.start], weights[at.stop : at.stop + size]
    if at.start < size or len(after) < size:
        raise Undefined(
            f"the steepest change of {readout}, at steps {film.step[at.start]} to "
            f"{film.step[at.stop]}, is too near an end of the film"
        )
    weights[at] = 1 / size
    before[:] = after[:] = -1 / (2 * size)
    return weights
