"""A comparison of ablation methods: recovery, reliability, cost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import Chosen, Results, comparison_of, lacking, require
from cntbench.figures._style import BAND, COLOURS, DOUBLE, GREY, INK, blank, logarithmic, styled
from cntbench.views.comparison import Methods, methods

#: Colour and marker of each truth.
_TRUTHS = {"direct": (COLOURS[0], "o"), "total": (COLOURS[1], "s")}


@styled
def comparison(results: xr.Dataset | xr.DataTree) -> Figure:
    """Draw a comparison of ablation methods.

    Parameters
    ----------
    results
        The output of `cntbench.compare` or ``cntbench compare -o``, or a result with the group
        ``comparison``.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each method, and a panel for each measured quantity: recovery of the edges of
        realistic planted circuits (average precision, by direct and by total truth); special
        circuits that the method passes; split-half reliability with its 95 % interval; time
        relative to the yardstick.

    Raises
    ------
    MissingGroupError
        If the result has no comparison, or the comparison has none of these quantities.
    """
    methods_view = require(methods(xr.DataTree(), comparison_of(results)))
    chosen = [panel for panel in _PANELS if panel[3](methods_view)]
    if not chosen:
        raise lacking("The comparison has neither recovery nor cost.")
    rows = len(methods_view.method)
    figure = blank(DOUBLE, 0.8 + 0.16 * rows)
    widths = [width for _, width, _, _ in chosen]
    panels = figure.subplots(1, len(chosen), sharey=True, width_ratios=widths, squeeze=False)[0]
    for ax, (title, _, draw, _) in zip(panels, chosen, strict=True):
        for row in range(1, rows, 2):
            ax.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0, zorder=-1)
        draw(ax, methods_view)
        ax.set_title(title)
        ax.tick_params(axis="y", length=0)
    entries = panels[0].get_legend_handles_labels()
    if chosen[0] is _PANELS[0]:
        figure.legend(*entries, loc="outside lower left", ncols=2, handletextpad=0.1)
    panels[0].set_yticks(range(rows), [method.ablation for method in methods_view.method])
    panels[0].set_ylim(rows - 0.5, -0.5)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return comparison(chosen.comparison)


def _recovery(ax: Axes, methods_view: Methods) -> None:
    for truth, (hue, marker) in _TRUTHS.items():
        values = [
            method.recovery.get(("realistic", truth), (np.nan, np.nan))[1]
            for method in methods_view.method
        ]
        name = f"truth: {truth} effects"
        ax.plot(values, np.arange(len(values)), marker, color=hue, markersize=3, label=name)
    ax.set_xlim(right=1.01)
    count = len(methods_view.circuits)
    ax.set_xlabel(f"average precision, mean of {count} circuit{'' if count == 1 else 's'}")


def _special(ax: Axes, methods_view: Methods) -> None:
    for y, method in enumerate(methods_view.method):
        passed, tried = len(method.passed), len(method.passed) + len(method.failed)
        text, hue = "not tried", INK
        if tried:
            ax.barh(y, passed, height=0.55, color=COLOURS[2], linewidth=0)
            ax.barh(y, tried - passed, 0.55, passed, color="#dddddd", linewidth=0)
            text, hue = f"{passed} of {tried}", "white" if 2 * passed > tried else INK
        ax.text(0.2, y, text, va="center", fontsize=5.5, color=hue)
    ax.locator_params(axis="x", integer=True)
    ax.set_xlabel("passed of those tried")


def _reliability(ax: Axes, methods_view: Methods) -> None:
    y = np.arange(len(methods_view.method))
    mean, low, high = np.array([method.split_half for method in methods_view.method]).T
    ax.hlines(y, low, high, color=COLOURS[0], linewidth=0.9)
    ax.plot(mean, y, "o", color=COLOURS[0], markersize=3, label="split_half")
    ax.set_xlabel("split-half, 95 % interval")


def _cost(ax: Axes, methods_view: Methods) -> None:
    seconds = [method.relative_seconds for method in methods_view.method]
    ax.plot(seconds, np.arange(len(seconds)), "o", color=COLOURS[0], markersize=3, label="cost")
    ax.axvline(1, color=GREY, linewidth=0.5, zorder=0)
    logarithmic(ax)
    ax.set_xlabel(f"time relative to {methods_view.yardstick}")


#: Title, relative width, drawing function, and whether there is anything to draw.
_PANELS: tuple[
    tuple[str, float, Callable[[Axes, Methods], None], Callable[[Methods], bool]], ...
] = (
    ("recovery of planted edges", 3, _recovery, lambda f: any(m.recovery for m in f.method)),
    ("special circuits", 1.6, _special, lambda f: any(m.passed or m.failed for m in f.method)),
    (
        "reliability",
        2,
        _reliability,
        lambda f: bool(np.isfinite([m.split_half[0] for m in f.method]).any()),
    ),
    ("cost", 2, _cost, lambda f: bool(np.isfinite([m.relative_seconds for m in f.method]).any())),
)
