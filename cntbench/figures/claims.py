"""The effects that decide claims, with their intervals and verdicts."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cntbench.comparison.claims import Judgement
from cntbench.figures._results import Chosen, Results, require, tree_of
from cntbench.figures._style import BAND, COLOURS, DOUBLE, GREY, INK, PALE, blank, styled
from cntbench.results import selection
from cntbench.views.verdict import claims as view

#: Colour and filling of verdicts.
_VERDICTS = {
    "supported": (COLOURS[2], "full"),
    "not supported": (COLOURS[1], "none"),
    "inconclusive": (GREY, "none"),
}
#: Letters above all columns together.
_LETTERS = 90
#: Widths of an entry of the legend without its letters, and of a letter [inch].
_ENTRY, _LETTER = 0.3, 0.05
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


@styled
def claims(results: Results, *, task: str | None = None) -> Figure:
    """Draw the verdicts on claims.

    Parameters
    ----------
    results
        A result with the group ``claims``.
    task
        Label of a task; by default, all tasks.

    Returns
    -------
    matplotlib.figure.Figure
        A column for each claim, a row for each task, a marker for each ablation: the effect of the
        deciding test, relative to the mean of its null model, with its 95 % interval. Colours show
        verdicts. Cases that could not be tested have no marker.

    Raises
    ------
    CntbenchError
        If the task is wrong, or the result lacks what is drawn.
    """
    tree = tree_of(results, ("status",))
    judged = require(view(tree))
    tasks = list(dict.fromkeys(judgement.task for judgement in judged))
    if task is not None:
        tasks = [tasks[selection.index_of(tree.to_dataset(inherit=False), "task", task)]]
    names = list(dict.fromkeys(judgement.claim for judgement in judged))
    ablations = list(dict.fromkeys(judgement.ablation for judgement in judged))
    figure = blank(DOUBLE, 0.95 + 0.11 * len(tasks) * (len(ablations) + 1))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for ax, name in zip(panels, names, strict=True):
        of_claim = [judgement for judgement in judged if judgement.claim == name]
        _draw(ax, of_claim, tasks, ablations, letters=max(8, _LETTERS // len(names)))
    panels[0].set_yticks(range(len(tasks)), tasks)
    panels[0].set_ylim(len(tasks) - 0.5, -0.5)
    entries = [
        Line2D([], [], linestyle="", marker="o", color=hue, fillstyle=fill, markersize=3.5, label=w)  # type: ignore[arg-type]
        for w, (hue, fill) in _VERDICTS.items()
    ]
    entries += [
        Line2D([], [], linestyle="", marker=_marker(i), color=INK, markersize=3, label=ablation)
        for i, ablation in enumerate(ablations)
    ]
    widths = [_ENTRY + _LETTER * len(label) for label in (*_VERDICTS, *ablations)]
    columns = len(entries) if sum(widths) <= DOUBLE else int(DOUBLE / max(widths)) or 1
    figure.legend(
        handles=entries, loc="outside upper left", ncols=columns, handletextpad=0.1,
        columnspacing=1.0,
    )  # fmt: skip
    figure.supxlabel(
        "effect of the test that decides, its statistic less the null model's mean, with its 95 % "
        "interval; no marker: could not be tested",
        fontsize=7,
    )
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return claims(results, task=chosen.task)


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def _draw(
    ax: Axes, judged: list[Judgement], tasks: list[str], ablations: list[str], *, letters: int
) -> None:
    """Draw a claim, whose name has at most so many letters in a line."""
    ax.axvline(0, color=INK, linewidth=0.5, zorder=0)
    for row in range(len(tasks)):
        if row % 2:
            ax.axhspan(row - 0.5, row + 0.5, color=BAND, linewidth=0, zorder=-1)
    spread = 0.6 / max(len(ablations) - 1, 1)
    for judgement in judged:
        test = judgement.results[judgement.verdict.decisive]
        if judgement.task not in tasks or not np.isfinite(test.effect):
            continue
        index = ablations.index(judgement.ablation)
        y = tasks.index(judgement.task) + (index - (len(ablations) - 1) / 2) * spread
        hue, fill = _VERDICTS[str(judgement.verdict.label)]
        ax.plot([test.lower, test.upper], [y, y], color=hue, linewidth=0.9, solid_capstyle="butt")
        ax.plot(
            [test.effect], [y], marker=_marker(index), color=hue, fillstyle=fill,
            markersize=3, markeredgewidth=0.8, markerfacecoloralt="white", linestyle="",
            label=f"{judgement.task} {judgement.ablation}",
        )  # fmt: skip
    ax.set_title(textwrap.fill(judged[0].claim.replace("_", " "), letters), fontsize=6.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_color(PALE)
    ax.locator_params(axis="x", nbins=3)
