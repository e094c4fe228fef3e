"""Metrics of the graph over training, with the bands of their null models."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cntbench.errors import distinct, unknown
from cntbench.figures import _phases
from cntbench.figures._results import Chosen, Results, film_of, require
from cntbench.figures._style import (
    COLOURS,
    DOUBLE,
    GREY,
    SINGLE,
    band,
    blank,
    line,
    steps_below,
    styled,
)
from cntbench.runs.options import Names, name_tuple
from cntbench.views.metrics import FOREMOST, WIDTH, MetricView, metric, metric_names
from cntbench.views.metrics import phases as view_phases
from cntbench.views.missing import Missing
from cntbench.views.steps import step_axis

_ROW = 3


@styled
def metrics(
    results: Results,
    names: Names | None = None,
    *,
    task: str | None = None,
    ablation: str | None = None,
) -> Figure:
    """Draw metrics over training, with bands of their null models.

    Parameters
    ----------
    results
        A result with the group ``metrics``, and ``nulls`` for the bands.
    names
        Names of metrics with one number for each graph; by default, six of them.
    task, ablation
        Labels; optional if there is only one.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each metric: its values, and mean ± 2 standard deviations over the draws of its
        null model. Phases are shaded, if the result has them.

    Raises
    ------
    CntbenchError
        If a name is wrong, or the result lacks what is drawn.
    """
    tree, cell = film_of(results, task, ablation)
    names = name_tuple(names or (), "names")
    distinct("metric", names)
    known = require(metric_names(tree))
    for name in names:
        if name not in known:
            raise unknown("metric of graphs", name, known)
    shown = list(names or [name for name in FOREMOST if name in known] or known[:6])
    steps = np.asarray(tree["step"].values, dtype=np.int64)
    axis = step_axis(steps)
    x = axis.place(steps)
    columns = min(_ROW, len(shown))
    rows = -(-len(shown) // columns)
    figure = blank(DOUBLE if columns > 1 else SINGLE, 0.45 + 1.65 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    view = view_phases(tree, *cell)
    phases = None if isinstance(view, Missing) or view.count < 2 else view
    for ax, name in zip(panels, shown, strict=False):
        _draw(ax, x, metric(tree, name, *cell))
        steps_below(ax, axis, steps)
        if phases is not None:
            _phases.shade([ax], phases, axis, steps)
    for ax in panels[len(shown) :]:
        ax.set_axis_off()
    for ax in panels[: max(0, len(shown) - columns)]:
        ax.set_xlabel("")
    notes = [
        ", ".join(cell),
        f"grey: mean ± {WIDTH:g} standard deviations over n draws of the null model",
        *(["upright lines: change points, with 95 % intervals"] if phases else []),
    ]
    caption = "; ".join(notes) if columns > 1 else "\n".join(notes)
    figure.suptitle(caption, x=0.01, ha="left", fontsize=7 if columns > 1 else 6)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return metrics(results, chosen.metrics, **chosen.cell)


def _draw(ax: Axes, x: NDArray[np.float64], metric_view: MetricView) -> None:
    """Draw one metric with the band of its null model."""
    if metric_view.draws:
        band(ax, x, *metric_view.band, color=GREY, alpha=0.3, zorder=0)
        dashes = {"linewidth": 0.7, "linestyle": "--"}
        line(ax, x, metric_view.mean, color=GREY, zorder=1, label="null", **dashes)
        null = f"null model: {metric_view.null.replace('_', ' ')}, n = {metric_view.draws}"
        ax.text(0, 1.02, null, transform=ax.transAxes, fontsize=5.5, color=GREY)
    line(ax, x, metric_view.value, color=COLOURS[0], zorder=2, label=metric_view.name)
    unit = "" if metric_view.unit == "1" else f" [{metric_view.unit}]"
    ax.set_title(f"{metric_view.name.replace('_', ' ')}{unit}", pad=10)
    ax.yaxis.get_offset_text().set_horizontalalignment("right")
    if np.nanmin(metric_view.value, initial=0) >= 0:  # the band ends at 0 too
        ax.set_ylim(bottom=max(ax.get_ylim()[0], 0.0))
