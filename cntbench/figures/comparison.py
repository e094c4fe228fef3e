"""What a comparison knows of ablation methods: recovery, reliability, cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import there
from cntbench.figures._style import BAND, COLOURS, DOUBLE, GREY, INK, blank, styled
from cntbench.views.comparison import Method, methods

#: By truth: colour and marker.
_TRUTHS = {"direct": (COLOURS[0], "o"), "total": (COLOURS[1], "s")}


@styled
def comparison(results: xr.Dataset | xr.DataTree) -> Figure:
    """Draw what a comparison knows of ablation methods.

    Parameters
    ----------
    results
        What `cntbench.compare` returns and ``cntbench compare -o`` writes, or a result with such a
        group ``comparison``.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each method. Recovery of the edges of realistic planted circuits, as average
        precision, by direct and by total truth; special circuits that it judges rightly;
        reliability by halves of the prompts with its 95 % interval; time relative to the yardstick.
        What was not measured has no marker.

    Raises
    ------
    CntbenchError
        If the result has no comparison.
    """
    if isinstance(results, xr.DataTree):
        found = there(methods(results))
    else:
        found = there(methods(xr.DataTree(), results))
    rows = found.method
    figure = blank(DOUBLE, 0.8 + 0.16 * len(rows))
    panels = figure.subplots(1, 4, sharey=True, width_ratios=(3, 1.6, 2, 2))
    for row in range(1, len(rows), 2):
        for ax in panels:
            ax.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0, zorder=-1)
    _recovery(panels[0], rows)
    panels[0].set_xlabel(f"average precision, mean of {len(found.circuits)} circuits")
    titles = ("recovery of planted edges", "special circuits", "reliability", "cost")
    for ax, title in zip(panels, titles, strict=True):
        ax.set_title(title)
        ax.tick_params(axis="y", length=0)
    _special(panels[1], rows)
    panels[1].set_xlabel("passed of those tried")
    y = np.arange(len(rows))
    mean, low, high = np.array([row.split_half for row in rows]).T
    panels[2].hlines(y, low, high, color=COLOURS[0], linewidth=0.9)
    panels[2].plot(mean, y, "o", color=COLOURS[0], markersize=3, label="split_half")
    panels[2].set_xlabel("split-half, 95 % interval")
    panels[3].plot(
        [row.relative_seconds for row in rows], y, "o", color=COLOURS[0], markersize=3, label="cost"
    )
    panels[3].axvline(1, color=GREY, linewidth=0.5, zorder=0)
    panels[3].set_xscale("log")
    panels[3].set_xlabel(f"time relative to {found.yardstick or 'the yardstick'}")
    panels[3].xaxis.set_major_formatter("{x:g}")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, handletextpad=0.1
    )
    panels[0].set_yticks(y, [row.ablation for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _recovery(ax: Axes, rows: Sequence[Method]) -> None:
    for truth, (hue, marker) in _TRUTHS.items():
        values = [row.recovery.get(("realistic", truth), (np.nan, np.nan))[1] for row in rows]
        ax.plot(
            values,
            np.arange(len(rows)),
            marker,
            color=hue,
            markersize=3,
            label=f"truth: {truth} effects",
        )
    ax.set_xlim(right=1.01)


def _special(ax: Axes, rows: Sequence[Method]) -> None:
    for y, row in enumerate(rows):
        tried = len(row.passed) + len(row.failed)
        if tried:
            ax.barh(y, len(row.passed), height=0.55, color=COLOURS[2], linewidth=0)
            ax.barh(y, len(row.failed), 0.55, len(row.passed), color="#dddddd", linewidth=0)
            ax.text(
                0.2, y, f"{len(row.passed)} of {tried}", va="center", fontsize=5.5, color="white"
            )
        else:
            ax.text(0.2, y, "not tried", va="center", fontsize=5.5, color=INK)
    ax.locator_params(axis="x", integer=True)
