"""Readouts of the clean model over training, and where they change most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.results.film import usable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Readouts:
    """Behaviour on all tasks.

    Parameters
    ----------
    task, readout, unit
        Labels; ``unit`` by readout.
    step
        Dims ``checkpoint``.
    value, error
        Mean over prompts and its standard error, dims ``task, readout, checkpoint``; NaN where
        nothing was measured, and at duplicates.
    """

    task: tuple[str, ...]
    readout: tuple[str, ...]
    unit: tuple[str, ...]
    step: NDArray[np.int64]
    value: Array
    error: Array


def readouts(tree: xr.DataTree) -> Readouts:
    """Return the readouts of a result."""
    root = tree.to_dataset(inherit=False)
    counts = usable(root)
    dims = ("task", "readout", "checkpoint")
    value, error = (
        np.where(counts, root[name].variable.transpose(*dims).values.astype(np.float64), np.nan)
        for name in ("readout_value", "readout_se")
    )
    return Readouts(
        task=tuple(map(str, root["task"].values)),
        readout=tuple(map(str, root["readout"].values)),
        unit=tuple(map(str, root["readout_unit"].values)),
        step=np.asarray(root["step"].values, dtype=np.int64),
        value=value,
        error=error,
    )


def usable_accuracy(dataset: xr.Dataset, task: str) -> tuple[Array, Array, NDArray[Any]]:
    """Return accuracy, its standard errors and steps, at the usable checkpoints that have it."""
    names = ["readout_value", "readout_se"]
    film = dataset[names].isel(checkpoint=usable(dataset)).sel(task=task, readout="accuracy")
    values, errors = (film[name].values.astype(np.float64) for name in names)
    known = ~np.isnan(values)
    return values[known], errors[known], film["step"].values[known]


def steepest_rise(dataset: xr.Dataset, task: str, readout: str) -> tuple[int, int] | None:
    """Find where a readout rose most from one usable checkpoint to the next.

    Returns
    -------
    tuple or None
        The two steps; None if it never rose, was not measured, or there are fewer than two
        usable checkpoints.
    """
    film = dataset["readout_value"].isel(checkpoint=usable(dataset))
    values = film.sel(task=task, readout=readout).values
    steps = film["step"].values
    rises = np.diff(values)
    if not (rises > 0).any():
        return None
    at = int(np.nanargmax(rises))
    return int(steps[at]), int(steps[at + 1])


def task_of_interest(root: xr.Dataset) -> str:
    """Return ``induction`` if the result has that task, else its first task."""
    tasks = [str(task) for task in root["task"].values]
    return "induction" if "induction" in tasks else tasks[0]
