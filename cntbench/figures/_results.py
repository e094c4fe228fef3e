"""The input of a figure: a result, a cell of it, a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from cntbench.dynamics.film import prompts_of
from cntbench.errors import StorageError
from cntbench.results import selection
from cntbench.results.checking import without_outdated
from cntbench.results.film import usable
from cntbench.results.schema import HEAD_SCORES, validate_edges
from cntbench.views.missing import Missing

Results = xr.Dataset | xr.DataTree
#: Variables of which films, matrices and their labels are made.
OF_FILMS = selection.OF_FILMS

View = TypeVar("View")


@dataclass(frozen=True)
class Chosen:
    """What the command line chooses to draw from a result.

    Parameters
    ----------
    task
        Label of the task; None if the user named none.
    checkpoint, checkpoints
        Checkpoints of pictures of one moment and of several; None for the picture's default.
    metrics
        Names; None for the picture's default.
    comparison
        Source of the picture of a comparison.
    cell
        Task and ablation of a picture of one cell, named by the user or not.
    """

    task: str | None
    checkpoint: str | None
    checkpoints: tuple[str, ...] | None
    metrics: tuple[str, ...] | None
    comparison: Results
    cell: dict[str, Any]


#: Text before the command in the error.
_MAKES = "To make it: "
#: Makes a comparison and draws it.
_COMPARE = "cntbench compare -o FILE && cntbench figures RESULTS -o FOLDER --comparison FILE"


class MissingGroupError(StorageError):
    """A result lacks the group that a picture shows."""

    @property
    def missing(self) -> Missing:
        """The missing group."""
        return Missing(self.what, (self.hint or "").removeprefix(_MAKES))


def tree_of(results: Results, needed: Sequence[str]) -> xr.DataTree:
    """Return a result in the form that views take.

    Parameters
    ----------
    results
        A result, its root, or a selection from either.
    needed
        Variables of the root.

    Raises
    ------
    StorageError
        If a variable is missing, or sources are not the targets where graphs are drawn.
    """
    if isinstance(results, xr.Dataset):
        counts = [name for name in ("prompts_measured",) if name in results]
        tree = xr.DataTree(selection.with_schema_dims(results, [*needed, *counts]))
    else:
        tree = without_outdated(selection.whole_tree(results), where="the dataset")
        selection.with_schema_dims(tree.to_dataset(inherit=False), needed)
    tree = tree.map_over_datasets(lambda group: group.compute())
    if "influence" in needed:
        root = tree.to_dataset(inherit=False)
        selection.check_square(root)
        validate_edges(root, "the dataset")
    return tree


def task_of(
    results: Results, needed: Sequence[str], task: str | None
) -> tuple[xr.DataTree, xr.Dataset, str]:
    """Return a result as `tree_of` does, its root, and the label of a task.

    Scores of heads that the first results did not have are taken where there are any.
    """
    scores = [*HEAD_SCORES[:2], *(name for name in HEAD_SCORES[2:] if name in results)]
    tree = tree_of(results, [*needed, *scores])
    root = tree.to_dataset(inherit=False)
    return tree, root, str(root["task"].values[selection.index_of(root, "task", task)])


def cell_of(tree: xr.DataTree, task: str | None, ablation: str | None) -> tuple[str, str]:
    """Return the labels of a task and an ablation; None means the only one.

    Raises
    ------
    CntbenchError
        If there is no such label, or several to choose from.
    """
    root = tree.to_dataset(inherit=False)
    labels = {"task": task, "ablation": ablation}
    names = [str(root[d].values[selection.index_of(root, d, name)]) for d, name in labels.items()]
    return names[0], names[1]


def film_of(
    results: Results, task: str | None, ablation: str | None
) -> tuple[xr.DataTree, tuple[str, str]]:
    """Return a result with a film, as `tree_of` does, and the cell of `cell_of`."""
    tree = tree_of(results, OF_FILMS)
    return tree, cell_of(tree, task, ablation)


def moment_of(tree: xr.DataTree, checkpoint: str | None, step: int | None) -> int:
    """Return the index of a checkpoint; by default, of the last usable one, or else the last.

    Raises
    ------
    CntbenchError
        If there is no such checkpoint.
    """
    root = tree.to_dataset(inherit=False)
    if checkpoint is not None or step is not None:
        return selection.index_of(root, "checkpoint", checkpoint, step=step)
    indices = np.flatnonzero(usable(root))
    return int(indices[-1]) if len(indices) else root.sizes["checkpoint"] - 1


def comparison_of(results: Results) -> xr.Dataset:
    """Return a comparison, or the group ``comparison`` of a result.

    Raises
    ------
    MissingGroupError
        If the result has no such group.
    """
    if isinstance(results, xr.Dataset):
        return results.compute()
    if "comparison" not in results.children:
        raise lacking("The result has no group 'comparison'.")
    tree = selection.whole_tree(results)
    return tree.children["comparison"].to_dataset(inherit=True).compute()


def lacking(what: str, command: str = _COMPARE) -> MissingGroupError:
    """Return the error for a result that lacks something, with the command that makes it."""
    return MissingGroupError(what, hint=f"{_MAKES}{command}")


def over_prompts(tree: xr.DataTree, task: str | None = None) -> str:
    """Return the words for the mean over the prompts of a task, or of all tasks."""
    root = tree.to_dataset(inherit=False)
    counts = prompts_of(root if task is None else root.sel(task=[task]))
    if not np.isfinite(counts).any():
        return "mean over prompts"
    low, high = int(np.nanmin(counts)), int(np.nanmax(counts))
    return f"mean over {low if low == high else f'{low} to {high}'} prompts"


def require(view: View | Missing) -> View:
    """Return a view.

    Raises
    ------
    MissingGroupError
        If the result lacks the view's group; it names the command that makes the group.
    """
    if isinstance(view, Missing):
        raise lacking(view.what, view.command)
    return view
