"""Similarity of the graphs at any two checkpoints."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import Chosen, Results, film_of, require
from cntbench.figures._style import (
    INK,
    SINGLE,
    canvas,
    checkpoints_below,
    matrix,
    scale_beside,
    styled,
)
from cntbench.views.metrics import recurrence as view


@styled
def recurrence(
    results: Results,
    *,
    task: str | None = None,
    ablation: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the recurrence matrix.

    Parameters
    ----------
    results
        A result with the group ``metrics``.
    task, ablation
        Labels; optional if there is only one.
    ax
        Axes to draw on; by default, a figure of one column.

    Returns
    -------
    matplotlib.figure.Figure
        A row and a column for each checkpoint, evenly spaced whatever their steps; those that were
        not measured, or repeat others, are grey.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree, cell = film_of(results, task, ablation)
    similarity = require(view(tree, *cell))
    figure, ax = canvas(ax, SINGLE, SINGLE * 0.92)
    image = matrix(ax, similarity.values, vmax=1, origin="lower", aspect="equal")
    checkpoints_below(ax, np.asarray(tree["step"].values, dtype=np.int64))
    ax.set_yticks(ax.get_xticks(), [label.get_text() for label in ax.get_xticklabels()])
    ax.set_ylabel("training step of the other checkpoint")
    ax.set_title(", ".join(cell))
    ax.spines[:].set(visible=True, color=INK)
    scale_beside(ax, image, "similarity of the graphs")
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return recurrence(results, **chosen.cell)
