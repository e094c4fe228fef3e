"""Scores of heads over training, with the onset of what each head does, beside a readout."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cntbench.figures._results import Chosen, Results, over_prompts, task_of
from cntbench.figures._style import (
    DOUBLE,
    GREY,
    INK,
    OTHERS,
    band,
    blank,
    colour,
    line,
    steps_below,
    styled,
)
from cntbench.results.selection import index_of
from cntbench.views.heads import THRESHOLD, HeadScores, head_scores
from cntbench.views.readouts import readouts, steepest_rise
from cntbench.views.steps import StepAxis, step_axis

#: Number of heads with colours and names.
FOREMOST = 7
_NEEDED = ("readout_value", "readout_se", "status")
_COLUMNS = 3


@styled
def scores(results: Results, *, task: str | None = None, readout: str = "accuracy") -> Figure:
    """Draw the scores of heads over training.

    Parameters
    ----------
    results
        A result.
    task
        Its label; optional if there is only one.
    readout
        What is drawn beside the scores.

    Returns
    -------
    matplotlib.figure.Figure
        The readout with a band of one standard error, then a panel for each score. Heads that do
        something at the end, with a score of at least 0.5, have colours, the same in every panel;
        a dot is the onset, the first checkpoint from which on the score is at least 0.5. The grey
        bar is the steepest rise of the readout.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree, root, name = task_of(results, _NEEDED, task)
    index_of(root, "readout", readout)
    view, axis = head_scores(tree, name), step_axis(root["step"].values)
    count = 1 + len(view.score)
    rows = -(-count // _COLUMNS)
    figure = blank(DOUBLE, 1.55 * rows + 0.75)
    panels = list(figure.subplots(rows, _COLUMNS, sharex=True, squeeze=False).flat)
    _draw_readout(panels[0], tree, name, readout, axis)
    foremost = view.foremost(FOREMOST).tolist()
    for ax, score in zip(panels[1:], range(len(view.score)), strict=False):
        _draw_score(ax, view, score, foremost, axis)
    rise = steepest_rise(root, name, readout)
    for column, ax in enumerate(panels):
        if column >= count:
            ax.set_axis_off()
            continue
        if rise is not None:
            start, stop = axis.place(rise)
            ax.axvspan(start, stop, color="#ececec", linewidth=0, zorder=-3)
        if column + _COLUMNS >= count:
            steps_below(ax, axis, view.step)
            ax.tick_params(labelbottom=True)
    figure.suptitle(
        f"{name}: what heads do ({over_prompts(tree, name)}); grey: steepest rise of "
        f"{readout.replace('_', ' ')}",
        x=0.01, ha="left", fontsize=7,
    )  # fmt: skip
    _explain(figure, view, foremost)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return scores(results, task=chosen.cell["task"])


def _draw_readout(ax: Axes, tree: xr.DataTree, task: str, name: str, axis: StepAxis) -> None:
    view = readouts(tree)
    at = view.task.index(task), view.readout.index(name)
    value, error, x = view.value[at], view.error[at], axis.place(view.step)
    band(ax, x, value - error, value + error, color=INK, alpha=0.2)
    line(ax, x, value, color=INK, label=name)
    ax.set_title(name.replace("_", " "))


def _draw_score(
    ax: Axes, view: HeadScores, score: int, foremost: list[int], axis: StepAxis
) -> None:
    x = axis.place(view.step)
    for head, name in enumerate(view.head):
        looks = {"color": OTHERS, "linewidth": 0.6, "zorder": 1}
        if head in foremost:
            looks = {**colour(foremost.index(head)), "zorder": 3}
        line(ax, x, view.value[score, :, head], label=name, **looks)
        onset = view.onset[score, head]
        if head in foremost and np.isfinite(onset):
            at = view.value[score, np.flatnonzero(view.step == onset)[0], head]
            hue = looks["color"]
            ax.plot(axis.place(onset), at, "o", markersize=3, color=hue, zorder=4, gid="onset")
    ax.axhline(THRESHOLD, color=GREY, linewidth=0.5, linestyle=":", zorder=0)
    low = np.nanmin(view.value[score], initial=0.0)
    ax.set_ylim(min(-0.03, 1.05 * low), 1.05)
    ax.set_title(view.label[score])


def _explain(figure: Figure, view: HeadScores, foremost: list[int]) -> None:
    handles = [
        Line2D([], [], label=view.head[head], **colour(index))  # type: ignore[arg-type]
        for index, head in enumerate(foremost)
    ]
    handles.append(Line2D([], [], color=OTHERS, linewidth=0.6, label="other heads"))
    if foremost:
        label = f"onset: at least {THRESHOLD:g} from here on"
        handles.append(
            Line2D([], [], color=INK, linestyle="", marker="o", markersize=3, label=label)
        )
    figure.legend(handles=handles, loc="outside lower left", ncols=5)
