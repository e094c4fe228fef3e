"""What phases are called: exploration, consolidation, refinement, by stated criteria, or nothing.

A phase is held against the film and against the phase before it, each by the mean of the
standardised metric trajectory (`cntbench.dynamics.trajectory`) over its checkpoints. *Settled* is
the mean of three: turnover with its sign turned, and the stability of both orders.

=============  =============================================================================
exploration    unsettled: below −`CLEAR`
refinement     settled: above `CLEAR`; and neither concentration nor how settled it is changes
               by more than half a standard deviation of the film within it
consolidation  more settled and more concentrated than the phase before, both by `CLEAR`, and
               not yet a refinement
=============  =============================================================================

Names come in the order exploration, consolidation, refinement, and none twice. A phase that fits
none, or only one that is taken or past, has no name.
"""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array
from cntbench.dynamics.trajectory import FEATURES

NAMES = ("exploration", "consolidation", "refinement")
#: A difference that counts, in standard deviations of the film.
CLEAR = 0.25
#: Largest change within a phase that is still a refinement, in standard deviations of the film.
_STILL = 0.5

_PLACE = {name: place for place, name in enumerate(FEATURES)}


def settled(features: Array) -> Array:
    """Return how settled the graph is, dims ``checkpoint`` [standard deviations]."""
    return np.asarray(
        (
            features[:, _PLACE["spreader_stability"]]
            + features[:, _PLACE["gatherer_stability"]]
            - features[:, _PLACE["turnover"]]
        )
        / 3
    )


def concentration(features: Array) -> Array:
    """Return the standardised concentration, dims ``checkpoint``."""
    return features[:, _PLACE["concentration"]]


def name_phases(features: Array, changes: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the phases, ``""`` for those that fit none.

    Parameters
    ----------
    features
        The standardised metric trajectory, dims ``checkpoint, feature``.
    changes
        First checkpoints of the phases but the first.
    """
    calm, focus = (np.split(of(features), changes) for of in (settled, concentration))
    names: list[str] = []
    free = set(NAMES)
    for place in range(len(calm)):
        name = _fitting(calm, focus, place)
        names.append(name if name in free else "")
        if names[-1]:
            free -= set(NAMES[: NAMES.index(name) + 1])
    return tuple(names)


def _fitting(calm: list[Array], focus: list[Array], place: int) -> str:
    """Return the name that a phase fits; ``calm`` and ``focus`` by phase."""
    here = calm[place].mean()
    if here < -CLEAR:
        return "exploration"
    if here > CLEAR and _change(calm[place]) < _STILL and _change(focus[place]) < _STILL:
        return "refinement"
    more = [of[place].mean() - of[place - 1].mean() for of in (calm, focus)] if place else [0]
    return "consolidation" if min(more) > CLEAR else ""


def _change(values: Array) -> float:
    """Return by how much a straight line through the values rises or falls in all."""
    if len(values) < 2:
        return 0.0
    slope = np.polynomial.Polynomial.fit(np.arange(len(values)), values, 1).convert().coef[-1]
    return float(abs(slope) * (len(values) - 1))
