"""What a figure is asked to draw: a result, a cell of it, a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from cntbench.errors import StorageError
from cntbench.results import selection
from cntbench.results.film import usable
from cntbench.views.missing import Missing

Results = xr.Dataset | xr.DataTree

#: What films, matrices and their labels are made of.
OF_FILMS = ("influence", "influence_se", "status", "status_reason")

View = TypeVar("View")


@dataclass(frozen=True)
class Chosen:
    """What the command line chooses to draw of a result.

    Parameters
    ----------
    task
        Its label; None if the user named none.
    checkpoint, checkpoints
        Of a picture of one moment, and of several; None for the picture's own choice.
    metrics
        Names; None for the picture's own choice.
    comparison
        What the picture of a comparison is drawn from.
    cell
        Task and ablation of a picture of one cell, whether the user named them or not.
    """

    task: str | None
    checkpoint: str | None
    checkpoints: tuple[str, ...] | None
    metrics: tuple[str, ...] | None
    comparison: Results
    cell: dict[str, Any]


#: What stands before the command in the error.
_MAKES = "To make it: "


class MissingGroupError(StorageError):
    """A result lacks the group that a picture is drawn from."""

    @property
    def missing(self) -> Missing:
        """What is missing."""
        return Missing(self.what, (self.hint or "").removeprefix(_MAKES))


def tree_of(results: Results, needed: Sequence[str]) -> xr.DataTree:
    """Return a result as views take it.

    Parameters
    ----------
    results
        A result, or its root, or a selection from either.
    needed
        Variables of the root.

    Raises
    ------
    StorageError
        If one is missing.
    """
    if isinstance(results, xr.Dataset):
        return xr.DataTree(selection.with_schema_dims(results, needed).compute())
    tree = selection.whole_tree(results)
    selection.with_schema_dims(tree.to_dataset(inherit=False), needed)
    return tree.map_over_datasets(lambda group: group.compute())


def cell_of(tree: xr.DataTree, task: str | None, ablation: str | None) -> tuple[str, str]:
    """Return the labels of a task and an ablation; None stands for the only one.

    Raises
    ------
    CntbenchError
        If there is no such label, or several to choose from.
    """
    root = tree.to_dataset(inherit=False)
    labels = {"task": task, "ablation": ablation}
    names = [str(root[d].values[selection.index_of(root, d, name)]) for d, name in labels.items()]
    return names[0], names[1]


def moment_of(tree: xr.DataTree, checkpoint: str | None, step: int | None) -> int:
    """Return the number of a checkpoint; if none is named, of the last usable one, or the last.

    Raises
    ------
    CntbenchError
        If there is no such checkpoint.
    """
    root = tree.to_dataset(inherit=False)
    if checkpoint is not None or step is not None:
        return selection.index_of(root, "checkpoint", checkpoint, step=step)
    counted = np.flatnonzero(usable(root))
    return int(counted[-1]) if len(counted) else root.sizes["checkpoint"] - 1


def over_prompts(tree: xr.DataTree) -> str:
    """Say what means are over."""
    count = tree.attrs.get("prompts")
    return "mean over prompts" if count is None else f"mean over {int(count)} prompts"


def require(view: View | Missing) -> View:
    """Return a view.

    Raises
    ------
    MissingGroupError
        If the result lacks what it is made from; it says what makes that.
    """
    if isinstance(view, Missing):
        raise MissingGroupError(view.what, hint=f"{_MAKES}{view.command}")
    return view
