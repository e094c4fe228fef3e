"""What a method costs against how well it serves each purpose, and the front of the best."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import Chosen, Results, require
from cntbench.figures._style import COLOURS, DOUBLE, GREY, blank, styled
from cntbench.views.missing import Missing
from cntbench.views.verdict import Ranking, verdict

#: What makes a verdict and draws it.
_COMMAND = "cntbench compare -o FILE && cntbench figures RESULTS -o FOLDER --comparison FILE"


@styled
def pareto(results: xr.Dataset | xr.DataTree) -> Figure:
    """Draw score against cost for each purpose, with the front of the best methods.

    Parameters
    ----------
    results
        What `cntbench.compare` returns and ``cntbench compare -o`` writes, or a result with such a
        group ``comparison``.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each purpose: mean score with its 95 % interval against the counted cost
        [forward passes]. Coloured and named are the methods that no other method beats: each
        other one has a method beside it that is at least as good and as cheap.

    Raises
    ------
    MissingGroupError
        If there is no comparison, or none with a verdict and costs.
    """
    if isinstance(results, xr.DataTree):
        if "comparison" not in results.children:
            require(Missing("The result has no group 'comparison'.", _COMMAND))
        results = results.children["comparison"].to_dataset(inherit=True)
    view = verdict(results.compute())
    drawn = [r for r in view.ranking if any(m.pareto for m in r.method)] if view else []
    if not drawn:
        require(Missing("The comparison has no verdict on methods with costs.", _COMMAND))
    rows = -(-len(drawn) // 2)
    figure = blank(DOUBLE, 0.4 + 2.4 * rows)
    panels = figure.subplots(rows, 2, squeeze=False).flat
    for ax, ranking in zip(panels, drawn, strict=False):
        _draw(ax, ranking)
    for ax in list(panels)[len(drawn) :]:
        ax.set_axis_off()
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return pareto(chosen.comparison)


def _draw(ax: Axes, ranking: Ranking) -> None:
    methods = sorted(ranking.method, key=lambda method: (method.passes, -method.score))
    for front, hue in ((False, GREY), (True, COLOURS[0])):
        shown = [method for method in methods if method.pareto == front]
        cost, score, low, high = (
            np.array([(m.passes, m.score, m.low, m.high) for m in shown]).reshape(-1, 4).T
        )
        ax.vlines(cost, low, high, color=hue, linewidth=0.7)
        ax.plot(cost, score, "o", color=hue, markersize=3, label="front" if front else "others")
        if front:
            ax.plot(cost, score, color=hue, linewidth=0.7, drawstyle="steps-post")
    every = [method.passes for method in methods]
    ax.set_xscale("log")
    ax.set_xlim(min(every) / 1.5, max(every) * 1.5)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    ax.set_xlabel("cost [forward passes]")
    ax.set_ylabel(f"{ranking.measure}, 95 % interval")
    ax.set_title(ranking.title)
    _name(ax, [m.ablation for m in methods if m.pareto])


def _name(ax: Axes, names: list[str]) -> None:
    """Write the names of the front from the cheapest on, in the corner that is never on it."""
    text = "\n".join(["front, cheapest first:", *names])
    ax.text(0.98, 0.04, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=5.5)
