"""Golden results: has a number moved?

Two results agree if every value differs by at most ``ABSOLUTE + RELATIVE * |golden|`` and NaN
stands in the same places. The tolerance is the one that float32 itself needs: golden numbers were
computed in float32, and the order of its sums differs between processors. ``tests/golden`` measures
how far the same computation in float64 lies from them, and holds it to half of the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from cntbench.errors import StorageError
from cntbench.schema import VARIABLES

ABSOLUTE = 4e-6
RELATIVE = 4e-5


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
    for name in golden.indexes:
        if not np.array_equal(golden[name].values, found[name].values):
            raise StorageError(
                f"{name!r} is {_labels(found, str(name))}, and {_labels(golden, str(name))} in the "
                "golden result"
            )
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


def _labels(dataset: xr.Dataset, name: str) -> str:
    return ", ".join(str(value) for value in dataset[name].values)
