"""Roles of a film over training, by name: what the group ``roles`` of a result holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.reconfiguration import LEVEL, WINDOW, reconfigurations
from cntbench.dynamics.roles import (
    PER_PLACE,
    ROLES,
    WIDTH,
    Role,
    error,
    moves,
    rank,
    strength,
    top,
)

#: The dim along which a role's holders stand.
SIDE: dict[Role, str] = {"spreader": "source", "gatherer": "target"}

#: What is said of every component at every checkpoint, after the role's name.
OF_COMPONENTS = {
    "strength": "layer-corrected strength: its strength over what the mean weights of its layer "
    "pairs would give it; NaN without feasible edges or without any influence in them",
    "strength_se": "standard error over prompts, errors of one component's edges taken as "
    "perfectly correlated, those of different components as independent",
    "strength_lower": "lower end of the strength's 95 % interval",
    "strength_upper": "upper end of the strength's 95 % interval",
    "rank": "place in the hierarchy, 1 the strongest; ties share places",
    "top": f"1 in the top set, one of every {PER_PLACE} components that have the role and who is "
    "tied with the last, else 0",
    "move": "1 where it enters the top set, -1 where it leaves it, from the usable checkpoint "
    "before; else 0",
}
#: What is said of every checkpoint.
OF_CHECKPOINTS = {
    "change": "share of pairs of components whose order turns round, from the mean over the "
    f"{WINDOW} usable checkpoints before to that over {WINDOW} from here on (fewer at the ends)",
    "change_noise": "mean of the change in a frozen film, measured before and after with noise at "
    "the standard errors",
    "change_noise_deviation": "standard deviation of that change",
    "change_p_value": "chance that a frozen film shows such a standardised change at any "
    "checkpoint; NaN without standard errors",
    "reconfigures": f"1 at the largest change of a run of checkpoints whose p-value is at most "
    f"{LEVEL}, else 0",
}


def role_summary(
    film: Film, rng: np.random.Generator, draws: int
) -> dict[str, NDArray[np.float32]]:
    """Return roles, their errors, hierarchy and changes.

    Parameters
    ----------
    film
        Of one task and one ablation.
    rng, draws
        Source of chance, and number of draws of the null model ``frozen``.

    Returns
    -------
    dict
        By ``ROLE_NAME``, names as in `OF_COMPONENTS`, dims ``checkpoint, component``, and
        `OF_CHECKPOINTS`, dims ``checkpoint``.
    """
    found = component_roles(film.weights, film.errors, film.layer)
    for role, change in reconfigurations(film, rng, draws).items():
        values = {
            "change": change.change,
            "change_noise": change.noise,
            "change_noise_deviation": change.noise_deviation,
            "change_p_value": change.p_value,
            "reconfigures": change.reconfigures,
        }
        found |= {f"{role}_{name}": array.astype(np.float32) for name, array in values.items()}
    return found


def component_roles(
    weights: Array, errors: Array, layer: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Return what is said of every component, by ``ROLE_NAME``, dims ``checkpoint, component``.

    Parameters
    ----------
    weights, errors
        Influence and its standard errors, dims ``checkpoint, source, target``.
    layer
        Layers of the components.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for role in ROLES:
        strengths = strength(weights, layer, role)
        deviations = error(weights, errors, layer, role)
        ranks = rank(strengths)
        members = top(ranks)
        values = {
            "strength": strengths,
            "strength_se": deviations,
            "strength_lower": np.maximum(strengths - WIDTH * deviations, 0),
            "strength_upper": strengths + WIDTH * deviations,
            "rank": ranks,
            "top": members,
            "move": moves(members),
        }
        found |= {f"{role}_{name}": array.astype(np.float32) for name, array in values.items()}
    return found
