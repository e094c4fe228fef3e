"""All metrics of a film, as a group of the result file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench import plugins
from cntbench.files.attributes import described
from cntbench.metrics._base import DIMS, LAGS, Metric
from cntbench.metrics._graphs import Graphs, check_names


def film_metrics(
    influence: xr.DataArray, usable: NDArray[np.bool_], names: Iterable[str] | None = None
) -> xr.Dataset:
    """Compute metrics at every usable checkpoint.

    Parameters
    ----------
    influence
        Dims ``task, ablation, checkpoint, source, target``, with the coordinates ``step`` and
        ``source_layer``.
    usable
        Which checkpoints to use, dims ``checkpoint``. The others get NaN; metrics over time compare
        a usable checkpoint with the usable one before it.
    names
        Names of the metrics; by default all.

    Returns
    -------
    xarray.Dataset
        One variable for each metric, dims ``task, ablation`` and those of `DIMS`.
    """
    known = plugins.room("metric")
    if names is None:
        check_names(known)
    layer = influence["source_layer"].values
    graphs = Graphs(
        influence.values[:, :, usable], step=influence["step"].values[usable], layer=layer
    )
    labels = _labels(influence)
    variables = {}
    for name in known if names is None else names:
        metric: Metric = plugins.find("metric", name).METRIC
        dims = ("task", "ablation", *DIMS[metric.per])
        values = np.full([len(labels[dim]) for dim in dims], np.nan)
        cells = [
            usable if dim in ("checkpoint", "other_checkpoint") else np.arange(len(labels[dim]))
            for dim in dims
        ]
        if usable.any():
            values[np.ix_(*cells)] = graphs.metric(name)
        variables[name] = xr.Variable(dims, values, _attributes(known[name], metric))
    used = {dim for variable in variables.values() for dim in variable.dims}
    coords = {
        dim: (dim, labels[dim], {"long_name": long_name})
        for dim, long_name in _LONG_NAMES.items()
        if dim in used
    }
    return xr.Dataset(variables, coords)


_LONG_NAMES = {
    "component": "component",
    "layer": "layer that sends or receives the influence",
    "lag": "number of usable checkpoints between the two compared",
    "other_checkpoint": "checkpoint compared with",
}


def _labels(influence: xr.DataArray) -> Mapping[str, Sized]:
    return {
        **{dim: influence[dim].values for dim in map(str, influence.dims)},
        "component": influence["source"].values,
        "layer": np.unique(influence["source_layer"].values),
        "lag": np.array(LAGS),
        "other_checkpoint": influence["checkpoint"].values,
    }


def _attributes(plugin: plugins.Plugin, metric: Metric) -> dict[str, str]:
    attributes = {
        **described(plugin.name, plugin.summary, metric.units),
        "range": f"{metric.lower:g} to {metric.upper:g}",
        "undefined": metric.undefined,
        "null_model": metric.null,
        "backbone": metric.backbone,
    }
    return {key: value for key, value in attributes.items() if value is not None}
