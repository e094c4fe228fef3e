"""The effect of ablating each component on a readout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.files.parsing import parse_json

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EffectView:
    """Components of one task by one ablation, over training.

    Parameters
    ----------
    readout, unit
        The readout that changes.
    component
        Names, in causal order.
    step
        Dims ``checkpoint``.
    effect, error
        Ablated minus clean, and its standard error; dims ``checkpoint, component``. NaN where
        not measured.
    """

    readout: str
    unit: str
    component: tuple[str, ...]
    step: NDArray[np.int64]
    effect: Array
    error: Array


def over_one_edge(root: xr.Dataset) -> tuple[str, ...]:
    """Return the ablations whose effects are those of the edge to the unembedding alone.

    Ablations of unknown scope are taken to measure the total effect.
    """
    try:
        specs = parse_json(str(root.attrs.get("spec", "{}")))["ablations"]
        return tuple(
            str(name) for name in root["ablation"].values if specs[str(name)]["scope"] == "direct"
        )
    except (ValueError, KeyError, TypeError):
        return ()


def effects(
    tree: xr.DataTree, task: str, ablation: str, readout: str = "logit_difference"
) -> EffectView:
    """Return effects on a readout, of one task by one ablation."""
    root = tree.to_dataset(inherit=False)
    names = ["readout_effect", "readout_effect_se", "readout_unit"]
    cell = root[names].sel(task=task, ablation=ablation, readout=readout)
    dims = ("checkpoint", "source")
    effect, error = (
        cell[name].variable.transpose(*dims).values.astype(np.float64) for name in names[:2]
    )
    return EffectView(
        readout=readout,
        unit=str(cell["readout_unit"].item()),
        component=tuple(map(str, root["source"].values)),
        step=np.asarray(root["step"].values, dtype=np.int64),
        effect=effect,
        error=error,
    )
