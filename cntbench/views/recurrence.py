"""The recurrence matrix: how similar the graphs at any two checkpoints are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.views.missing import Missing, missing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recurrence:
    """Similarity of graphs of one task by one ablation.

    Parameters
    ----------
    summary
        How similarity is defined.
    step
        Dims ``checkpoint``.
    value
        0 to 1, dims ``checkpoint, other_checkpoint``; NaN where not usable.
    """

    summary: str
    step: NDArray[np.int64]
    value: Array


def recurrence(tree: xr.DataTree, task: str, ablation: str) -> Recurrence | Missing:
    """Return the matrix of one task by one ablation."""
    if "metrics" not in tree.children:
        return missing("metrics")
    group = tree.children["metrics"].to_dataset(inherit=True)
    if "recurrence" not in group:
        return missing("metrics")
    cell = group["recurrence"].sel(task=task, ablation=ablation)
    return Recurrence(
        summary=str(cell.attrs.get("comment", cell.attrs.get("long_name", ""))),
        step=np.asarray(tree["step"].values, dtype=np.int64),
        value=cell.variable.transpose("checkpoint", "other_checkpoint").values.astype(np.float64),
    )
