"""Metrics of the graph over training, their null models and phases; similarity of two graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.results.selection import index_of
from cntbench.views.missing import Missing, missing

Array = NDArray[np.float64]

#: Half the width of the null model's band [standard deviations].
WIDTH = 2.0
#: Metrics shown by default.
FOREMOST = (
    "gini",
    "effective_edges",
    "turnover_rate",
    "modularity",
    "global_reaching_centrality",
    "trophic_incoherence",
)


@dataclass(frozen=True)
class MetricView:
    """A number about each graph of one task by one ablation.

    Parameters
    ----------
    name, summary, unit
        Its name, meaning and unit.
    value
        Dims ``checkpoint``; NaN where undefined or not usable.
    null
        Name of the null model; empty without one.
    draws
        Number of its draws; 0 without one.
    mean, deviation
        Over the draws, dims ``checkpoint``; NaN where nothing was drawn.
    """

    name: str
    summary: str
    unit: str
    value: Array
    null: str
    draws: int
    mean: Array
    deviation: Array

    @property
    def band(self) -> tuple[Array, Array]:
        """Lower and upper edge of the null model's band, mean ± `WIDTH` standard deviations."""
        return self.mean - WIDTH * self.deviation, self.mean + WIDTH * self.deviation


def metric_names(tree: xr.DataTree) -> tuple[str, ...] | Missing:
    """Return the metrics that are one number for each graph, in the order of the file."""
    if "metrics" not in tree.children:
        return missing("metrics")
    group = tree.children["metrics"].to_dataset(inherit=False)
    return tuple(
        str(name)
        for name, variable in group.data_vars.items()
        if variable.dims == ("task", "ablation", "checkpoint")
    )


def metric(tree: xr.DataTree, name: str, task: str, ablation: str) -> MetricView:
    """Return one of `metric_names` of one task by one ablation; a band needs ``nulls``."""
    root = tree.to_dataset(inherit=False)
    cell = {"task": index_of(root, "task", task), "ablation": index_of(root, "ablation", ablation)}
    variable = tree.children["metrics"].variables[name]
    value = variable.isel(cell).values.astype(np.float64)
    mean = deviation = np.full(value.shape, np.nan)
    attributes: dict[str, object] = {}
    nulls = tree.children.get("nulls")
    if nulls is not None and name in nulls.variables:
        drawn_values = nulls.variables[name]
        attributes = dict(drawn_values.attrs)
        statistics = [str(label) for label in nulls.variables["statistic"].values]
        mean, deviation = (
            drawn_values.isel({**cell, "statistic": statistics.index(statistic)}).values.astype(
                np.float64
            )
            for statistic in ("mean", "standard_deviation")
        )
    return MetricView(
        name=name,
        summary=str(variable.attrs.get("comment", variable.attrs.get("long_name", name))),
        unit=str(variable.attrs.get("units", "1")),
        value=value,
        null=str(attributes.get("null_model", "")),
        draws=int(str(attributes.get("draws", 0))),
        mean=mean,
        deviation=deviation,
    )


def recurrence(tree: xr.DataTree, task: str, ablation: str) -> xr.DataArray | Missing:
    """Return how similar the graphs of one task by one ablation are at any two checkpoints.

    0 to 1, dims ``checkpoint, other_checkpoint``; NaN where not usable.
    """
    if "metrics" not in tree.children:
        return missing("metrics")
    group = tree.children["metrics"].to_dataset(inherit=True)
    if "recurrence" not in group:
        return missing("metrics")
    cell = group["recurrence"].sel(task=task, ablation=ablation).astype(np.float64)
    chosen = np.isin(cell["other_checkpoint"].values, cell["checkpoint"].values)
    return cell.isel(other_checkpoint=chosen).transpose("checkpoint", "other_checkpoint")


@dataclass(frozen=True)
class PhaseView:
    """Segments of the metric trajectory.

    Parameters
    ----------
    count
        Number of phases; 1 if there are no boundaries, 0 if nothing was measured.
    p_value
        Share of trajectories without change points that have such phases; NaN if there are too
        few checkpoints.
    step, lower, upper
        First step of each phase but the first, and the 95 % interval; dims ``boundary``.
    name
        Of each phase, empty where no criteria fit.
    readout_step
        By readout, the middle step of the window in which it changes most; NaN if it never
        changes.
    """

    count: int
    p_value: float
    step: Array
    lower: Array
    upper: Array
    name: tuple[str, ...]
    readout_step: dict[str, float]


def phases(tree: xr.DataTree, task: str, ablation: str) -> PhaseView | Missing:
    """Return the phases of one task by one ablation."""
    if "phases" not in tree.children:
        return missing("phases")
    group = tree.children["phases"].to_dataset(inherit=True)
    cell = group.sel(task=task, ablation=ablation)
    known = np.isfinite(cell["boundary_step"].values)
    count = int(np.nan_to_num(cell["count"].item()))
    step, lower, upper = (
        cell[f"boundary_{name}"].values[known] for name in ("step", "lower", "upper")
    )
    return PhaseView(
        count=count,
        p_value=float(cell["p_value"].item()),
        step=step,
        lower=lower,
        upper=upper,
        name=tuple(map(str, cell["phase_name"].values[:count])),
        readout_step={
            str(name): float(at)
            for name, at in zip(group["readout"].values, cell["readout_step"].values, strict=True)
        },
    )
