"""Groups of a result: what has been worked out for every cell, as labelled datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.dynamics.null_summary import STATISTICS, moments
from cntbench.dynamics.role_summary import OF_CHECKPOINTS, OF_COMPONENTS, SIDE
from cntbench.dynamics.roles import ROLES
from cntbench.metrics._base import Metric

#: One task by one ablation of the root, and arrays by name at its usable checkpoints.
Cell = tuple[xr.Dataset, Mapping[str, NDArray[np.float32]]]


def role_group(root: xr.Dataset, cells: Sequence[Cell]) -> xr.Dataset:
    """Return what `cntbench.dynamics.role_summary` has found, NaN at other checkpoints."""
    variables = {}
    for role in ROLES:
        for about, names in (((SIDE[role],), OF_COMPONENTS), ((), OF_CHECKPOINTS)):
            for name, said in names.items():
                dims = ("task", "ablation", "checkpoint", *about)
                values = np.full([root.sizes[dim] for dim in dims], np.nan, dtype=np.float32)
                attributes = {"long_name": f"{role}: {said}", "units": "1"}
                variables[f"{role}_{name}"] = xr.Variable(dims, values, attributes)
    return _placed(variables, root, cells)


def null_group(
    root: xr.Dataset, metrics: xr.Dataset, cells: Sequence[Cell], models: int, draws: int
) -> xr.Dataset:
    """Return what `cntbench.dynamics.null_summary` has found, NaN at other checkpoints.

    Parameters
    ----------
    root, metrics
        The result's root, and its group of metrics.
    cells
        Found for each null model.
    models
        Number of untrained models.
    draws
        Number of draws from the other null models.
    """
    variables = {}
    for name, plugin in plugins.room("metric").items():
        metric: Metric = plugin.module.METRIC
        if metric.null is not None:
            shape = (len(STATISTICS), *metrics[name].shape)
            count = min(draws, models) if metric.null == "untrained" else draws
            variables[name] = xr.Variable(
                ("statistic", *metrics[name].dims),
                np.full(shape, np.nan, dtype=np.float32),
                {
                    "long_name": f"{plugin.summary} Beside what the null model gives.",
                    "null_model": metric.null,
                    "draws": count,
                    "units": metric.units,
                    "undefined": _undefined(root, metric, count),
                },
            )
    found = _placed(variables, root, cells)
    labels = {dim: metrics[dim] for dim in metrics.indexes if dim in found.dims}
    about = {"long_name": "what is said of a value; units are those of mean and standard deviation"}
    labels["statistic"] = xr.DataArray(list(STATISTICS), dims="statistic", attrs=about)
    return found.assign_coords(labels).assign_attrs(STATISTICS)


def _undefined(root: xr.Dataset, metric: Metric, draws: int) -> str:
    if not draws:
        return (
            "everything: no untrained models were measured, because the study asks for none or "
            "models of the trajectory cannot be initialised anew"
        )
    reason = "z-score and p-value where all draws are equal; everything where the metric is"
    count = root.sizes["checkpoint"]
    drawn = len(moments(count, root["influence"][0, 0, 0].size, draws))
    if drawn < count and not metric.over_time and metric.null != "untrained":
        reason += (
            f", and at all but {drawn} checkpoints, evenly spaced over the usable ones, because "
            "the graphs are large"
        )
    return reason


def _placed(
    variables: Mapping[str, xr.Variable], root: xr.Dataset, cells: Sequence[Cell]
) -> xr.Dataset:
    """Put the arrays of each cell where they belong."""
    places = {dim: root.get_index(dim) for dim in ("task", "ablation")}
    for cell, arrays in cells:
        where = {dim: places[dim].get_loc(cell[dim].item()) for dim in places}
        usable = np.flatnonzero(cell["status"].values == "ok")
        for name, values in arrays.items():
            room = variables[name][where]
            at = [
                usable if dim in ("checkpoint", "other_checkpoint") else np.arange(size)
                for dim, size in room.sizes.items()
            ]
            room.values[np.ix_(*at)] = values
    return xr.Dataset(variables)
