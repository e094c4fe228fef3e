"""Phases of one task by one ablation: change points with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.views.missing import Missing, missing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PhaseView:
    """Segments of the metric trajectory.

    Parameters
    ----------
    count
        Number of phases; 1 if there are no boundaries, 0 if nothing was measured.
    p_value
        Share of trajectories without change points that have such phases; NaN if there are too
        few checkpoints.
    step, lower, upper
        First step of each phase but the first, and the 95 % interval; dims ``boundary``.
    name
        Of each phase, empty where no criteria fit.
    readout_step
        By readout, the middle step of the window in which it changes most; NaN if it never
        changes.
    """

    count: int
    p_value: float
    step: Array
    lower: Array
    upper: Array
    name: tuple[str, ...]
    readout_step: dict[str, float]


def phases(tree: xr.DataTree, task: str, ablation: str) -> PhaseView | Missing:
    """Return the phases of one task by one ablation."""
    if "phases" not in tree.children:
        return missing("phases")
    group = tree.children["phases"].to_dataset(inherit=True)
    cell = group.sel(task=task, ablation=ablation)
    known = np.isfinite(cell["boundary_step"].values)
    count = int(np.nan_to_num(cell["count"].item()))
    step, lower, upper = (
        cell[f"boundary_{name}"].values[known] for name in ("step", "lower", "upper")
    )
    return PhaseView(
        count=count,
        p_value=float(cell["p_value"].item()),
        step=step,
        lower=lower,
        upper=upper,
        name=tuple(map(str, cell["phase_name"].values[:count])),
        readout_step={
            str(name): float(at)
            for name, at in zip(group["readout"].values, cell["readout_step"].values, strict=True)
        },
    )
