"""How much more roles change across the learning juncture than before and after it.

The juncture is the window of the film in which a readout improves most
(`cntbench.dynamics.junctures`). Every gatherer has a share of what its group receives (a gatekeeper
of the group's betweenness, a spreader of what it sends). The change of roles over a window is the
total variation distance between these shares at its two ends, averaged over groups, in units of its
mean over all windows of that length. The statistic is the change over the juncture minus the mean
change over the windows just before and just after it: 0 if the juncture is not special. The two
neighbours remove slow trends, such as faster change early in training. Over a window, unlike over a
single transition, real changes add up and noise does not.

Groups are peers (`cntbench.dynamics.orders`), so a shift of influence from one layer to another is
not a change of roles; with ``among = "all"`` it is.

Its null model ``phase_randomised`` moves the fluctuations of the contrast to other times. It keeps
the power spectrum of the contrasts at all windows (with the end of the film joined to its start),
and with it variance and autocorrelation, and randomises the phases. The film's own peak is part of
that variance, so a film that consists of one peak cannot reject it by much. Merely shifting the
series along the readout would give no more p-values than there are windows that do not overlap,
about a dozen.
Source: Theiler et al. 1992, "Testing for nonlinearity in time series: the method of surrogate
data".
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from cntbench.dynamics.film import Array, Film, Undefined
from cntbench.dynamics.junctures import juncture
from cntbench.dynamics.orders import Among, Role, groups, having, strengths
from cntbench.dynamics.statistics._base import Statistic
from cntbench.metrics._base import divide
from cntbench.specs import Readout, spec


@spec
class Parameters(Statistic):
    """Parameters of the statistic.

    Parameters
    ----------
    readout
        The readout whose learning juncture is used.
    among
        Whether roles are shares of what peers receive, or of what all gatherers receive.
    role
        Whose roles.
    """

    readout: Readout
    among: Among
    # Not in the name of the random stream, so that draws are those from before it existed.
    role: Role = dataclasses.field(default="gatherer", repr=False)

    needs: ClassVar[int] = 40
    own_nulls: ClassVar[dict[str, str]] = {
        "phase_randomised": "Contrasts vary as much, and as slowly, but at any time."
    }
    few_moments: ClassVar[bool] = True
    units: ClassVar[str] = "mean change"

    def series(self, film: Film) -> Array:
        """Return the contrast at the juncture, the only moment."""
        at = juncture(film, self.readout)
        size = at.stop - at.start
        if at.start < size or at.stop + size >= len(film):
            raise Undefined(
                f"the steepest improvement of {self.readout}, from step {film.step[at.start]} to "
                f"{film.step[at.stop]}, is too near an end of the film"
            )
        return contrasts(film, self.among, size, self.role)[at.start : at.start + 1]

    def draws(self, film: Film, null: str, rng: np.random.Generator, size: int) -> Array:
        """Return contrasts at the juncture after randomising the phases."""
        at = juncture(film, self.readout)
        observed = contrasts(film, self.among, at.stop - at.start, self.role)
        spectrum = np.abs(np.fft.rfft(observed))
        turns = np.exp(2j * np.pi * rng.random((size, len(spectrum))))
        return np.fft.irfft(spectrum * turns, len(observed))[:, at.start]


def contrasts(film: Film, among: Among, size: int, role: Role) -> Array:
    """Return the change of roles over each window minus that over the windows next to it.

    Raises an `Undefined` if no group has two components of the role, or shares never change.

    Parameters
    ----------
    size
        Length of the windows, in transitions.

    Returns
    -------
    numpy.ndarray
        Dims ``first checkpoint of the window``, in units of the mean change.
    """
    change = _changes(film, among, size, role)
    if not change.mean():
        raise Undefined(f"{role}s' shares never change")
    change = change / change.mean()
    return np.asarray(change - (np.roll(change, size) + np.roll(change, -size)) / 2)


def _changes(film: Film, among: Among, size: int, role: Role) -> Array:
    able = having(film, role)
    group = groups(film) if among == "peers" else np.zeros(len(able), dtype=np.int64)
    strength = strengths(film, role)
    changes = []
    for number in np.unique(group[able]):
        members = strength[:, able & (group == number)]
        if members.shape[1] > 1:
            total = members.sum(axis=1, keepdims=True)
            share = divide(members, total, 0.0)
            changes.append(np.abs(share[size:] - share[:-size]).sum(axis=1) / 2)
    return np.mean(changes, axis=0) if changes else np.zeros(1)
