"""The group ``roles`` of a result: spreaders, gatherers and gatekeepers, and how they change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.dynamics import roles
from cntbench.dynamics.film import Array, Cell, Film, fill_cells
from cntbench.dynamics.reconfiguration import LEVEL, WINDOW, reconfigurations, reversed_share
from cntbench.files.attributes import described

#: The dim of each role's components.
SIDE: dict[roles.Role, str] = {"spreader": "source", "gatherer": "target"}

#: Variables about every component at every checkpoint, named after the role.
OF_COMPONENTS = {
    "strength": "layer-corrected strength: its strength over what the mean weights of its layer "
    "pairs would give it; NaN without feasible edges or without any influence in them",
    "strength_se": "standard error over prompts; errors of one component's edges are taken to be "
    "perfectly correlated, those of different components to be independent",
    "strength_lower": "lower end of the strength's 95 % interval, by Student's t over prompts",
    "strength_upper": "upper end of the strength's 95 % interval, by Student's t over prompts",
    "rank": "rank by strength, 1 for the strongest; ties share ranks",
    "top": f"1 in the top set (one of every {roles.PER_PLACE} components that have the role, and "
    "any tied with the last of them), else 0",
    "move": "1 where it enters the top set, -1 where it leaves it, compared with the previous "
    "usable checkpoint; else 0",
}
_CHANGE = (
    "share of pairs of components whose order reverses, from the mean over the "
    f"{WINDOW} usable checkpoints before to that over {WINDOW} from here on (fewer at the ends)"
)
#: Variables about every checkpoint, named after the role.
OF_CHECKPOINTS = {
    "change": _CHANGE,
    "change_noise": "mean of the change in a frozen film, measured before and after with noise at "
    "the standard errors",
    "change_noise_deviation": "standard deviation of that change",
    "change_p_value": "chance that a frozen film shows such a standardised change at any "
    "checkpoint; NaN without standard errors",
    "reconfigures": f"1 at the largest change of a run of checkpoints whose p-value is at most "
    f"{LEVEL}, else 0",
}
_OF_LARGE = "; of a large film, only checkpoints that are compared with null models count"
#: Variables about every component at every checkpoint, named after gatekeepers.
OF_GATEKEEPERS = {
    "strength": "betweenness minus its mean in the null model layer_pairs; NaN for components "
    "that do not both send and receive, and where nothing was drawn",
    "rank": "rank by strength, 1 for the strongest; ties share ranks",
    "top": f"1 in the top set (one of every {roles.PER_PLACE} components that have the role, and "
    "any tied with the last of them) and of positive strength, else 0",
    "move": OF_COMPONENTS["move"] + _OF_LARGE,
    "change": _CHANGE + _OF_LARGE,
}


def role_group(root: xr.Dataset, cells: Sequence[Cell]) -> xr.Dataset:
    """Return the group ``roles`` from every cell's `role_summary`; NaN at other checkpoints."""
    variables = {}
    for role in roles.ROLES:
        for dims, names in (((SIDE[role],), OF_COMPONENTS), ((), OF_CHECKPOINTS)):
            for name, meaning in names.items():
                all_dims = ("task", "ablation", "checkpoint", *dims)
                values = np.full([root.sizes[dim] for dim in all_dims], np.nan, dtype=np.float32)
                attributes = described(f"{role}_{name}", f"{role}: {meaning}", "1")
                variables[f"{role}_{name}"] = xr.Variable(all_dims, values, attributes)
    return fill_cells(variables, root, cells)


def role_summary(
    film: Film, rng: np.random.Generator, draws: int
) -> dict[str, NDArray[np.float32]]:
    """Return roles, their errors, ranks and changes, by ``ROLE_NAME``.

    Names are those of `OF_COMPONENTS`, dims ``checkpoint, component``, and of `OF_CHECKPOINTS`,
    dims ``checkpoint``.
    """
    arrays = component_roles(film.weights, film.errors, film.layer, film.prompts)
    for role, change in reconfigurations(film, rng, draws).items():
        named = zip(OF_CHECKPOINTS, vars(change).values(), strict=True)
        arrays |= {f"{role}_{name}": array.astype(np.float32) for name, array in named}
    return arrays


def component_roles(
    weights: Array, errors: Array, layer: NDArray[np.int64], prompts: Array
) -> dict[str, NDArray[np.float32]]:
    """Return `OF_COMPONENTS` by ``ROLE_NAME``, dims ``checkpoint, component``.

    Parameters
    ----------
    weights, errors
        Influence and its standard errors, dims ``checkpoint, source, target``.
    prompts
        Number of prompts, dims ``checkpoint`` or none.
    """
    arrays: dict[str, NDArray[np.float32]] = {}
    for role in roles.ROLES:
        strengths = roles.strength(weights, layer, role)
        deviations = roles.error(weights, errors, layer, role)
        half = roles.half_width(deviations, prompts)
        ranks = roles.rank(strengths)
        members = roles.top(ranks)
        values = {
            "strength": strengths,
            "strength_se": deviations,
            "strength_lower": np.maximum(strengths - half, 0),
            "strength_upper": strengths + half,
            "rank": ranks,
            "top": members,
            "move": roles.moves(members),
        }
        arrays |= {f"{role}_{name}": array.astype(np.float32) for name, array in values.items()}
    return arrays


def with_gatekeepers(
    group: xr.Dataset, root: xr.Dataset, metrics: xr.Dataset, nulls: xr.Dataset
) -> xr.Dataset:
    """Add gatekeepers to the group: on more of the strongest paths than their layers explain.

    Parameters
    ----------
    metrics, nulls
        Groups with ``betweenness`` and its mean in the null model ``layer_pairs``.

    Returns
    -------
    xarray.Dataset
        With `OF_GATEKEEPERS`, dims ``task, ablation, checkpoint, component``; ``change`` without
        ``component``.
    """
    edges = root["influence"].notnull().any(("task", "ablation", "checkpoint"))
    able = edges.any("target").values & edges.any("source").values
    beyond = metrics["betweenness"] - nulls["betweenness"].sel(statistic="mean", drop=True)
    dims = ("task", "ablation", "checkpoint", "component")
    strengths = np.where(able, beyond.transpose(*dims).values, np.nan)
    arrays = {
        name: np.full(strengths.shape[: 3 if name == "change" else 4], np.nan, dtype=np.float32)
        for name in OF_GATEKEEPERS
    }
    for cell in np.ndindex(strengths.shape[:2]):
        at = (*cell, ~np.isnan(strengths[cell]).all(axis=-1))
        for name, values in _gatekeepers(strengths[at]).items():
            arrays[name][at] = values
    variables = {
        f"gatekeeper_{name}": xr.Variable(
            dims[: values.ndim],
            values,
            described(f"gatekeeper_{name}", f"gatekeeper: {OF_GATEKEEPERS[name]}", "1"),
        )
        for name, values in arrays.items()
    }
    return group.assign_coords(component=metrics["component"]).assign(variables)


def _gatekeepers(strengths: Array) -> dict[str, Array]:
    """Return `OF_GATEKEEPERS` of one film from strengths, dims ``checkpoint, component``."""
    ranks = roles.rank(strengths)
    members = np.where(np.isnan(ranks), np.nan, roles.top(ranks) * (strengths > 0))
    sides = (
        (strengths[max(0, at - WINDOW) : at], strengths[at : at + WINDOW])
        for at in range(1, len(strengths))
    )
    change = [reversed_share(before.mean(axis=0), after.mean(axis=0)) for before, after in sides]
    return {
        "strength": strengths,
        "rank": ranks,
        "top": members,
        "move": roles.moves(members),
        "change": np.array([np.nan, *change])[: len(strengths)],
    }
