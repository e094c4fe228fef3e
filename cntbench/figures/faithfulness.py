"""Faithfulness of circuits over budgets of edges, and of their complements."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import Chosen, Results, lacking
from cntbench.figures._style import DOUBLE, GREY, PALE, blank, colour, logarithmic, styled
from cntbench.results.selection import index_of

#: The rows of the picture.
_ROWS = {
    "faithfulness": "recovered by the circuit",
    "complement_faithfulness": "recovered by its complement",
}


@styled
def faithfulness(results: xr.Dataset | xr.DataTree, *, task: str | None = None) -> Figure:
    """Draw how much of the readout circuits and their complements recover, by budget of edges.

    Parameters
    ----------
    results
        The output of `cntbench.circuit`, or a result with the group ``faithfulness``.
    task
        Its label; by default the first that circuits were measured on.

    Returns
    -------
    matplotlib.figure.Figure
        A column for each ranking of edges. Above, a line for each method with its 95 % interval
        over prompts, and in grey the range of all random circuits; below, the complements.

    Raises
    ------
    MissingGroupError
        If the result has no circuits.
    """
    dataset = _task_of(_circuits_of(results), task)
    rankings = [str(name) for name in dataset["ranking"].values]
    figure = blank(DOUBLE, 4.2)
    panels = figure.subplots(2, len(rankings), sharex=True, sharey="row", squeeze=False)
    for column, ranking in zip(panels.T, rankings, strict=True):
        column[0].set_title(f"edges by {ranking} score")
        for ax, name in zip(column, _ROWS, strict=True):
            _draw(ax, dataset.sel(ranking=ranking), name)
        column[-1].set_xlabel("share of the scored edges [%]")
    for ax, label in zip(panels[:, 0], _ROWS.values(), strict=True):
        ax.set_ylabel(label)
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower left", ncols=4)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return faithfulness(results, task=chosen.task)


def _circuits_of(results: Results) -> xr.Dataset:
    if isinstance(results, xr.DataTree) and "faithfulness" in results.children:
        return results.children["faithfulness"].to_dataset(inherit=True).compute()
    if isinstance(results, xr.Dataset) and "random_faithfulness" in results:
        return results.compute()
    raise lacking("The result has no group 'faithfulness'.", "cntbench circuit RESULTS --add")


def _task_of(dataset: xr.Dataset, task: str | None) -> xr.Dataset:
    if task is not None:
        return dataset.isel(task=index_of(dataset, "task", task))
    others = [dim for dim in dataset["faithfulness"].dims if dim != "task"]
    measured = np.flatnonzero(dataset["faithfulness"].notnull().any(others))
    return dataset.isel(task=int(measured[0]) if len(measured) else 0)


def _draw(ax: Axes, dataset: xr.Dataset, name: str) -> None:
    share = 100 * dataset["budget"].values
    if name == "faithfulness" and dataset.sizes["draw"]:
        random = dataset["random_faithfulness"]
        low, high = (getattr(random, end)(["ablation", "draw"]).values for end in ("min", "max"))
        ax.fill_between(share, low, high, color=PALE, linewidth=0, label="random circuits")
    for number, ablation in enumerate(dataset["ablation"].values):
        method = dataset.sel(ablation=ablation)
        if method[name].isnull().all():
            continue
        looks: Any = colour(number)
        ax.plot(share, method[name].values, label=str(ablation), marker=".", **looks)
        if name == "faithfulness":
            low, high = (method[f"{name}_{end}"].values for end in ("lower", "upper"))
            ax.fill_between(share, low, high, color=looks["color"], alpha=0.2, linewidth=0)
    for height in (0, 1):
        ax.axhline(height, color=GREY, linewidth=0.5, zorder=0)
    logarithmic(ax)
