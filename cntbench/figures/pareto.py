"""Score against cost of methods for each purpose, and the Pareto front."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import Chosen, Results, comparison_of, lacking
from cntbench.figures._style import COLOURS, DOUBLE, GREY, blank, logarithmic, styled
from cntbench.views.verdict import Ranking, verdict


@styled
def pareto(results: xr.Dataset | xr.DataTree) -> Figure:
    """Draw score against cost for each purpose, with the Pareto front of the methods.

    Parameters
    ----------
    results
        The output of `cntbench.compare` or ``cntbench compare -o``, or a result with the group
        ``comparison``.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each purpose: mean score with its 95 % interval against the counted cost
        [forward passes]. The methods of the front have a colour and a name; for each other method,
        there is one that is at least as good and as cheap.

    Raises
    ------
    MissingGroupError
        If there is no comparison, or the comparison has no verdict with costs.
    """
    view = verdict(comparison_of(results))
    rankings = [r for r in view.ranking if any(m.pareto for m in r.method)] if view else []
    if not rankings:
        raise lacking("The comparison has no verdict on methods with costs.")
    rows = -(-len(rankings) // 2)
    figure = blank(DOUBLE, 0.4 + 2.4 * rows)
    panels = list(figure.subplots(rows, 2, squeeze=False).flat)
    for ax, ranking in zip(panels, rankings, strict=False):
        _draw(ax, ranking)
    for ax in panels[len(rankings) :]:
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
    logarithmic(ax)
    ax.set_xlim(min(every) / 1.5, max(every) * 1.5)
    ax.set_xlabel("cost [forward passes]")
    ax.set_ylabel(f"{ranking.measure}, 95 % interval")
    ax.set_title(ranking.title)
    _name(ax, [m.ablation for m in methods if m.pareto])


def _name(ax: Axes, names: list[str]) -> None:
    """Write the names of the front, cheapest first, into the corner that it never reaches."""
    text = "\n".join(["front, cheapest first:", *names])
    ax.text(0.98, 0.04, text, transform=ax.transAxes, ha="right", va="bottom", fontsize=5.5)
