"""All metrics of a film, as a group of the result file."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cntbench import plugins
from cntbench.metrics._base import Metric, Per

_DIMS: dict[Per, tuple[str, ...]] = {
    "source": ("source",),
    "target": ("target",),
    "graph": (),
    "transition": (),
}


def film_metrics(influence: xr.DataArray, usable: np.ndarray) -> xr.Dataset:
    """Compute every metric at every usable checkpoint.

    Parameters
    ----------
    influence
        Dims ``task, ablation, checkpoint, source, target``.
    usable
        Checkpoints that count, dims ``checkpoint``; the others get NaN, and transitions go from one
        usable checkpoint to the next.

    Returns
    -------
    xarray.Dataset
        One variable for each metric, dims ``task, ablation, checkpoint`` and for nodes ``source``
        or ``target``.
    """
    weights = influence.values[:, :, usable]
    found = {}
    for name, plugin in plugins.room("metric").items():
        metric: Metric = plugin.module.METRIC
        dims = ("task", "ablation", "checkpoint", *_DIMS[metric.per])
        values = np.full([influence.sizes[dim] for dim in dims], np.nan)
        values[:, :, usable] = plugin.module.compute(weights)
        found[name] = xr.Variable(dims, values, _attributes(plugin.summary, metric))
    return xr.Dataset(found)


def _attributes(summary: str, metric: Metric) -> dict[str, str]:
    return {
        "long_name": summary,
        "units": metric.units,
        "range": f"{metric.lower:g} to {metric.upper:g}",
    }
