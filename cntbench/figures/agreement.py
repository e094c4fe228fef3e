"""Agreement of ablation methods on the film."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import OF_FILMS, Chosen, Results, lacking, tree_of
from cntbench.figures._style import DOUBLE, SINGLE, canvas, matrix, scale_beside, styled
from cntbench.results import selection
from cntbench.views.comparison import agreement as view


@styled
def agreement(results: Results, *, task: str | None = None, ax: Axes | None = None) -> Figure:
    """Draw the rank correlation of edges by any two ablations.

    Parameters
    ----------
    results
        A result of several ablations.
    task
        Label; optional if there is only one.
    ax
        Axes to draw on; by default, a figure of one column, or two for more than five ablations.

    Returns
    -------
    matplotlib.figure.Figure
        Spearman's ρ, averaged over usable checkpoints, with its 95 % interval if there are enough
        of them, and space.

    Raises
    ------
    CntbenchError
        If the task is wrong, or the result lacks what is drawn, such as a second ablation.
    """
    tree = tree_of(results, OF_FILMS)
    root = tree.to_dataset(inherit=False)
    at = selection.index_of(root, "task", task)
    if root.sizes["ablation"] < 2:
        (name,) = selection.labels_of(root, "ablation")
        what = "The result has one ablation, and agreement compares two or more."
        raise lacking(what, f"cntbench run STUDY --ablations {name},ANOTHER")
    agreement_view = view(tree)
    count = len(agreement_view.ablation)
    annotated = count <= 5
    known = annotated & np.isfinite(agreement_view.low[at]) & ~np.eye(count, dtype=bool)
    size = (SINGLE, SINGLE * 0.85) if annotated else (DOUBLE, 1.6 + 0.36 * count)
    figure, ax = canvas(ax, *size)
    lowest = min(0.0, float(np.nanmin(agreement_view.mean[at], initial=0.0)))
    image = matrix(ax, agreement_view.mean[at], vmin=lowest, vmax=1)
    dark = lowest + 0.45 * (1 - lowest)
    for row, column in np.ndindex(count, count):
        mean, low, high = (
            numbers[at, row, column]
            for numbers in (agreement_view.mean, agreement_view.low, agreement_view.high)
        )
        if row != column and np.isfinite(mean):
            within = f"\n[{low:.2f}, {high:.2f}]" if known[row, column] else ""
            text = f"{mean:.2f}{within}"
            hue = "white" if mean > dark else "black"
            ax.text(column, row, text, ha="center", va="center", color=hue, fontsize=5.5)
    ax.set_xticks(range(count), agreement_view.ablation, rotation=0 if annotated else 90)
    ax.set_yticks(range(count), agreement_view.ablation)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_title(f"{agreement_view.task[at]}: agreement of ablations")
    label = "Spearman's ρ of edges" + (" [95 % interval]" if known.any() else "")
    scale_beside(ax, image, label)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return agreement(results, task=chosen.cell["task"])
