"""A film as plain arrays: one task and one ablation over training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.readouts import STANDARD

Array = NDArray[np.float64]
Kept = TypeVar("Kept")
#: One task and one ablation of a result's root, and arrays by name at its usable checkpoints.
Cell = tuple[xr.Dataset, Mapping[str, NDArray[np.float32]]]


class Undefined(Exception):  # noqa: N818 - not an error: the film does not answer the question
    """A statistic has no value on a film; the message says why."""


@dataclass(frozen=True)
class Film:
    """The graphs of one task and one ablation at the usable checkpoints, in order of step.

    Parameters
    ----------
    weights, errors
        Influence and its standard error over prompts, dims ``checkpoint, source, target``; NaN
        where the edge is not feasible.
    step
        Training steps, dims ``checkpoint``.
    names
        Names of the components, in causal order.
    layer
        Layers of the components.
    readouts, readout_errors
        The clean model's readouts and their standard errors, dims ``readout, checkpoint``.
    readout_names
        Names of the readouts.
    untrained
        Influence in untrained models of the same shape, dims ``seed, source, target``; empty if
        none were measured.
    prompts
        Number of prompts that means are over, dims ``checkpoint`` or none; infinite if unknown.
    """

    weights: Array
    errors: Array
    step: NDArray[np.int64]
    names: tuple[str, ...]
    layer: NDArray[np.int64]
    readouts: Array
    readout_errors: Array
    readout_names: tuple[str, ...] = STANDARD
    untrained: Array = field(default_factory=lambda: np.empty((0, 1, 1)))
    prompts: Array = field(default_factory=lambda: np.array(np.inf))

    def __len__(self) -> int:
        """Return the number of checkpoints."""
        return len(self.weights)

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which edges are feasible, dims ``source, target``."""
        return np.asarray(~np.isnan(self.weights).all(axis=0))

    def readout(self, name: str) -> Array:
        """Return a readout over training, dims ``checkpoint``; `Undefined` if it has none."""
        if name not in self.readout_names:
            raise Undefined(f"{name} was not measured")
        return np.asarray(self.readouts[self.readout_names.index(name)])

    def with_weights(self, weights: Array) -> Film:
        """Return the film with its weights replaced."""
        return dataclasses.replace(self, weights=weights)

    def keep(self, name: str, compute: Callable[[], Kept]) -> Kept:
        """Return what was computed of this film under a name; compute it the first time."""
        kept: dict[str, Any] = self.__dict__.setdefault("_kept", {})
        if name not in kept:
            kept[name] = compute()
        return kept[name]

    def late(self, count: int) -> Film:
        """Return the film of the last checkpoints, the same object for the same number."""
        return self.keep(f"last {count}", lambda: self.take(slice(len(self) - count, None)))

    def take(self, checkpoints: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Film:
        """Return the film of selected checkpoints, in the order given."""
        return dataclasses.replace(
            self,
            weights=self.weights[checkpoints],
            errors=self.errors[checkpoints],
            step=self.step[checkpoints],
            readouts=self.readouts[:, checkpoints],
            readout_errors=self.readout_errors[:, checkpoints],
            prompts=self.prompts[checkpoints] if self.prompts.ndim else self.prompts,
        )


def film_of(cell: xr.Dataset, untrained: xr.Dataset | None = None) -> Film:
    """Return the film of a dataset from which one task and one ablation have been selected."""
    cell = cell.isel(checkpoint=(cell["status"] == "ok").values)
    models = {} if untrained is None else {"untrained": untrained["influence"].values.astype(float)}
    return Film(
        weights=cell["influence"].values.astype(np.float64),
        errors=cell["influence_se"].values.astype(np.float64),
        step=cell["step"].values,
        names=tuple(map(str, cell["source"].values)),
        layer=cell["source_layer"].values,
        readouts=cell["readout_value"].values.astype(np.float64),
        readout_errors=cell["readout_se"].values.astype(np.float64),
        readout_names=tuple(map(str, cell["readout"].values)),
        prompts=prompts_of(cell),
        **models,
    )


def prompts_of(dataset: xr.Dataset) -> Array:
    """Return the number of prompts that means are over; infinite if it is unknown.

    Dims of ``prompts_measured``, or none.
    """
    if "prompts_measured" in dataset:
        return dataset["prompts_measured"].values.astype(np.float64)
    return np.array(dataset.attrs.get("prompts", np.inf), dtype=np.float64)


def fill_cells(
    variables: Mapping[str, xr.Variable], root: xr.Dataset, cells: Sequence[Cell]
) -> xr.Dataset:
    """Write the arrays of each cell into the variables of a group, and return the group.

    Values at checkpoints that are not usable stay as they are.
    """
    labels = {dim: root.get_index(dim) for dim in ("task", "ablation")}
    for cell, arrays in cells:
        position = {dim: index.get_loc(cell[dim].item()) for dim, index in labels.items()}
        usable = np.flatnonzero(cell["status"].values == "ok")
        for name, values in arrays.items():
            block = variables[name][position]
            indices = [
                usable if dim in ("checkpoint", "other_checkpoint") else np.arange(size)
                for dim, size in block.sizes.items()
            ]
            block.values[np.ix_(*indices)] = values
    return xr.Dataset(variables)
