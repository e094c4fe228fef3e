"""The effect of ablating each component on a readout, and what heads attend to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.parsing import parse_json

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Effects:
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
    previous_token, prefix_matching
        Attention of heads to the previous token, and to what followed earlier occurrences of the
        present one; dims as ``effect``, NaN for MLPs.
    """

    readout: str
    unit: str
    component: tuple[str, ...]
    step: NDArray[np.int64]
    effect: Array
    error: Array
    previous_token: Array
    prefix_matching: Array

    def strongest(self, checkpoint: int, count: int) -> NDArray[np.int64]:
        """Return the indices of the components with the largest effects, largest first."""
        size = np.abs(np.nan_to_num(self.effect[checkpoint]))
        order = np.argsort(-size, kind="stable")[:count]
        return order[size[order] > 0]


def over_one_edge(root: xr.Dataset) -> tuple[str, ...]:
    """Return the ablations whose effects are those of the edge to the unembedding alone.

    Parameters
    ----------
    root
        The film; ablations of unknown scope are taken to measure the total effect.
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
) -> Effects:
    """Return effects on a readout, of one task by one ablation."""
    root = tree.to_dataset(inherit=False)
    cell = root.sel(task=task, ablation=ablation, readout=readout)
    dims = ("checkpoint", "source")
    effect, error, previous, prefix = (
        cell[name].transpose(*dims).values.astype(np.float64)
        for name in ("readout_effect", "readout_effect_se", "previous_token", "prefix_matching")
    )
    return Effects(
        readout=readout,
        unit=str(cell["readout_unit"].item()),
        component=tuple(map(str, root["source"].values)),
        step=np.asarray(root["step"].values, dtype=np.int64),
        effect=effect,
        error=error,
        previous_token=previous,
        prefix_matching=prefix,
    )
