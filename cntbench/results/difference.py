"""Golden results: has a number moved?

Two results agree if every value differs by at most ``ABSOLUTE + RELATIVE * |golden|`` and the same
values are NaN. The tolerance is what float32 needs: golden numbers were computed in float32, whose
sums have another order on another processor. ``tests/golden`` holds the same computation in float64
to half of the tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.errors import StorageError, listed, nearest
from cntbench.results.schema import KEPT, VARIABLES
from cntbench.results.storage import file_name

ABSOLUTE = 4e-6
RELATIVE = 4e-5

#: Most labels that an error names, and most moves that a report lists.
_NAMED, _WORST = 5, 10


@dataclass(frozen=True)
class Move:
    """A value that lies outside the tolerance.

    Parameters
    ----------
    variable, place
        The variable, and the labels of the value: task, ablation, checkpoint, source, target.
    golden, value
        The golden value and the new one.
    excess
        Their distance in tolerances; infinite where only one is NaN.
    """

    variable: str
    place: tuple[str, ...]
    golden: float
    value: float
    excess: float

    def __str__(self) -> str:
        return (
            f"{self.variable} {' '.join(self.place)}: {self.golden:.6g} → {self.value:.6g} "
            f"({self.excess:.1f} × tolerance)"
        )


def excess(golden: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the distance of values in tolerances, elementwise; 0 where both are NaN."""
    distance = np.abs(values.astype(np.float64) - golden) / (ABSOLUTE + RELATIVE * np.abs(golden))
    distance[np.isnan(golden) != np.isnan(values)] = np.inf
    distance[np.isnan(golden) & np.isnan(values)] = 0
    return distance


def moves(golden: xr.Dataset, film: xr.Dataset) -> list[Move]:
    """Return every value that has moved, the worst first.

    Raises a `StorageError` if tasks, ablations, checkpoints or components of the two differ, or a
    variable is missing.
    """
    for dim in (dim for dim in map(str, golden.indexes) if dim in film.indexes):
        _check_labels(dim, *(list(map(str, dataset[dim].values)) for dataset in (golden, film)))
    moved = []
    for name, variable in {**VARIABLES, **KEPT}.items():
        if variable.type != "float" or (variable.optional and name not in golden):
            continue
        if name not in film:
            dim = variable.dims[-1]
            keep = f"Measure it with --keep {dim}s." if dim in ("prompt", "position") else None
            raise StorageError(
                f"lacks the variable {name!r}, which the golden result has", hint=keep
            )
        before, after = golden[name].values, film[name].values
        distance = excess(before, after)
        for index in map(tuple, np.argwhere(distance > 1)):
            place = tuple(
                str(golden[dim].values[i]) for dim, i in zip(variable.dims, index, strict=True)
            )
            numbers = (float(values[index]) for values in (before, after, distance))
            moved.append(Move(name, place, *numbers))
    return sorted(moved, key=lambda move: -move.excess)


def report(moved: list[Move]) -> str:
    """Return the worst moves, one per line."""
    count = "1 value has moved" if len(moved) == 1 else f"{len(moved)} values have moved; the worst"
    return "\n".join([f"{count}:", *(f"  {move}" for move in moved[:_WORST])])


def only(dataset: xr.Dataset, task: str, ablation: str) -> xr.Dataset:
    """Return one task and one ablation of a film; raise a `StorageError` if it lacks them."""
    for dim, name in (("task", task), ("ablation", ablation)):
        names = [str(label) for label in dataset[dim].values]
        if name not in names:
            raise StorageError(
                f"there is no {dim} {name!r}, which the golden result has",
                hint=nearest(name, names),
            )
    return dataset.sel(task=[task], ablation=[ablation])


def golden_file(folder: Path, task: str, ablation: str) -> Path:
    """Return the golden file of one task and one ablation."""
    return folder / f"{file_name(task)}.{file_name(ablation)}.nc"


def label_differences(before: Sequence[str], after: Sequence[str]) -> str:
    """Return the labels lacking and added, as in "lacks a and adds b"; empty if there are none."""
    changes = {
        "lacks": [name for name in before if name not in after],
        "adds": [name for name in after if name not in before],
    }
    return " and ".join(
        f"{verb} {listed(names, _NAMED)}" for verb, names in changes.items() if names
    )


def _check_labels(dim: str, golden: list[str], labels: list[str]) -> None:
    """Raise an error that says how the labels of a dim differ."""
    if golden != labels:
        raise StorageError(
            f"{dim!r} differs from the golden result: it "
            + (label_differences(golden, labels) or "has another order"),
            hint="Only results with the same labels can be compared.",
        )
