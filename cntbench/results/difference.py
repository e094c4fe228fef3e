"""Golden results: has a number moved?

Two results agree if every value differs by at most ``ABSOLUTE + RELATIVE * |golden|`` and NaN
stands in the same places. The tolerance is the one that float32 itself needs: golden numbers were
computed in float32, and the order of its sums differs between processors. ``tests/golden`` measures
how far the same computation in float64 lies from them, and holds it to half of the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.errors import StorageError, listed, nearest
from cntbench.results.schema import VARIABLES
from cntbench.results.storage import file_name

ABSOLUTE = 4e-6
RELATIVE = 4e-5

#: At most so many labels are named in an error.
_NAMED = 5


@dataclass(frozen=True)
class Move:
    """A value that lies outside the tolerance.

    Parameters
    ----------
    variable, place
        The variable, and the labels of the value: task, ablation, checkpoint, source, target.
    golden, found
        The two values.
    excess
        How many tolerances they lie apart; infinite where only one is NaN.
    """

    variable: str
    place: tuple[str, ...]
    golden: float
    found: float
    excess: float

    def __str__(self) -> str:
        return (
            f"{self.variable} {' '.join(self.place)}: {self.golden:.6g} → {self.found:.6g} "
            f"({self.excess:.1f} × tolerance)"
        )


def excess(golden: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return how many tolerances values lie apart, elementwise; 0 where both are NaN."""
    apart = np.abs(found.astype(np.float64) - golden) / (ABSOLUTE + RELATIVE * np.abs(golden))
    undefined = np.isnan(golden), np.isnan(found)
    apart[undefined[0] != undefined[1]] = np.inf
    apart[undefined[0] & undefined[1]] = 0
    return apart


def moves(golden: xr.Dataset, found: xr.Dataset) -> list[Move]:
    """Return every value that has moved, the worst first.

    Raises
    ------
    StorageError
        If the two have other tasks, ablations, checkpoints or components.
    """
    for name in map(str, golden.indexes):
        _check_labels(name, *(list(map(str, one[name].values)) for one in (golden, found)))
    moved = []
    for name, variable in VARIABLES.items():
        if variable.type != "float":
            continue
        apart = excess(golden[name].values, found[name].values)
        for index in np.argwhere(apart > 1):
            at = tuple(index)
            place = tuple(
                str(golden[dim].values[i]) for dim, i in zip(variable.dims, at, strict=True)
            )
            moved.append(
                Move(
                    name,
                    place,
                    float(golden[name].values[at]),
                    float(found[name].values[at]),
                    float(apart[at]),
                )
            )
    return sorted(moved, key=lambda move: -move.excess)


def report(moved: list[Move], *, most: int = 10) -> str:
    """Return the worst moves, one a line."""
    lines = [f"{len(moved)} values have moved; the worst:", *(f"  {m}" for m in moved[:most])]
    return "\n".join(lines)


def only(dataset: xr.Dataset, task: str, ablation: str) -> xr.Dataset:
    """Return one task and one ablation of a film.

    Raises
    ------
    StorageError
        If it has no such task or ablation.
    """
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


def _check_labels(dim: str, golden: list[str], found: list[str]) -> None:
    """Raise an error that says in what labels of a dim differ."""
    parts = [
        f"{verb} {listed(names, _NAMED)}"
        for verb, names in (
            ("lacks", [name for name in golden if name not in found]),
            ("adds", [name for name in found if name not in golden]),
        )
        if names
    ]
    if golden != found:
        raise StorageError(
            f"{dim!r} differs from the golden result: it "
            + (" and ".join(parts) if parts else "has another order"),
            hint="Only results with the same labels can be compared.",
        )
