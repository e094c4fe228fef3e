"""One task by one ablation over training, as plain arrays: what nulls, roles and claims work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.specs import READOUTS, Readout

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Film:
    """The graphs of one task and one ablation at the usable checkpoints, by rising step.

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
        The clean model's readouts and their standard errors, dims ``readout, checkpoint``, in the
        order of `cntbench.specs.READOUTS`.
    untrained
        Influence in untrained models of the same shape, dims ``seed, source, target``; no seed if
        none were measured.
    """

    weights: Array
    errors: Array
    step: NDArray[np.int64]
    names: tuple[str, ...]
    layer: NDArray[np.int64]
    readouts: Array
    readout_errors: Array
    untrained: Array = field(default_factory=lambda: np.empty((0, 1, 1)))

    def __len__(self) -> int:
        """Return the number of checkpoints."""
        return len(self.weights)

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which edges are there, dims ``source, target``."""
        return np.asarray(~np.isnan(self.weights).all(axis=0))

    def readout(self, name: Readout) -> Array:
        """Return a readout over training, dims ``checkpoint``."""
        return np.asarray(self.readouts[READOUTS.index(name)])

    def readout_error(self, name: Readout) -> Array:
        """Return the standard errors of a readout over training, dims ``checkpoint``."""
        return np.asarray(self.readout_errors[READOUTS.index(name)])

    def with_weights(self, weights: Array) -> Film:
        """Return the same film with other weights."""
        return dataclasses.replace(self, weights=weights)

    def take(self, checkpoints: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Film:
        """Return the film of some of the checkpoints, or of all in another order."""
        return dataclasses.replace(
            self,
            weights=self.weights[checkpoints],
            errors=self.errors[checkpoints],
            step=self.step[checkpoints],
            readouts=self.readouts[:, checkpoints],
            readout_errors=self.readout_errors[:, checkpoints],
        )


def films(
    dataset: xr.Dataset, untrained: xr.Dataset | None = None
) -> Iterator[tuple[str, str, Film]]:
    """Yield task, ablation and film for each cell, of the checkpoints whose status is ok in it.

    Parameters
    ----------
    dataset
        The result's root.
    untrained
        Its group ``untrained``, if there is one.
    """
    for task in map(str, dataset["task"].values):
        for ablation in map(str, dataset["ablation"].values):
            at = {"task": task, "ablation": ablation}
            others = None if untrained is None else untrained.sel(at)
            yield task, ablation, film_of(dataset.sel(at), others)


def film_of(cell: xr.Dataset, untrained: xr.Dataset | None = None) -> Film:
    """Return the film of one task and one ablation, of which a dataset has been taken."""
    cell = cell.isel(checkpoint=(cell["status"] == "ok").values)
    film = Film(
        weights=cell["influence"].values.astype(np.float64),
        errors=cell["influence_se"].values.astype(np.float64),
        step=cell["step"].values,
        names=tuple(map(str, cell["source"].values)),
        layer=cell["source_layer"].values,
        readouts=cell["readout_value"].values.astype(np.float64),
        readout_errors=cell["readout_se"].values.astype(np.float64),
    )
    if untrained is None:
        return film
    return dataclasses.replace(film, untrained=untrained["influence"].values.astype(np.float64))
