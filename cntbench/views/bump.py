"""The bump chart: ranks of spreaders or gatherers over training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.dynamics.role_summary import SIDE
from cntbench.dynamics.roles import Role
from cntbench.metrics._base import divide
from cntbench.views.missing import Missing, missing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bump:
    """The ranks of components in a role, of one task by one ablation.

    Parameters
    ----------
    role
        ``spreader`` or ``gatherer``.
    component
        Names, in causal order.
    step
        Dims ``checkpoint``.
    rank
        Rank, 1 is the strongest; ties share a rank; dims ``checkpoint, component``.
        NaN for components that cannot have the role, and where not usable.
    strength, error
        Strength relative to the layers' share, and its standard error; dims as ``rank``.
    reconfigures
        Whether the order changes more than noise explains, dims ``checkpoint``.
    """

    role: Role
    component: tuple[str, ...]
    step: NDArray[np.int64]
    rank: Array
    strength: Array
    error: Array
    reconfigures: NDArray[np.bool_]

    def foremost(self, count: int) -> NDArray[np.int64]:
        """Return the indices of the components with the best mean rank, best first.

        The mean is over the second half of the checkpoints, where orders settle. Components
        without a rank there are left out.
        """
        late = self.rank[len(self.rank) // 2 :]
        ranked = ~np.isnan(late)
        places = np.where(ranked, late, 0).sum(axis=0)
        counts = ranked.sum(axis=0)
        mean = divide(places, counts, np.inf)
        order = np.argsort(mean, kind="stable")[:count]
        return order[np.isfinite(mean[order])]


def bump(tree: xr.DataTree, role: Role, task: str, ablation: str) -> Bump | Missing:
    """Return the ranks of one role, of one task by one ablation."""
    if "roles" not in tree.children:
        return missing("roles")
    group = tree.children["roles"].to_dataset(inherit=True)
    cell = group.sel(task=task, ablation=ablation)
    side = SIDE[role]
    rank, strength, error = (
        cell[f"{role}_{name}"].variable.transpose("checkpoint", side).values.astype(np.float64)
        for name in ("rank", "strength", "strength_se")
    )
    return Bump(
        role=role,
        component=tuple(map(str, group[side].values)),
        step=np.asarray(tree["step"].values, dtype=np.int64),
        rank=rank,
        strength=strength,
        error=error,
        reconfigures=cell[f"{role}_reconfigures"].values == 1,
    )
