"""Influence as a matrix of source × target, at one checkpoint."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import Chosen, Results, film_of, moment_of, over_prompts
from cntbench.figures._style import INK, SINGLE, canvas, matrix, scale_beside, styled
from cntbench.views.film import film

#: Largest number of components that are named; with more, layers are named.
_NAMED = 40


@styled
def heatmap(
    results: Results,
    *,
    task: str | None = None,
    ablation: str | None = None,
    checkpoint: str | None = None,
    step: int | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw influence as a matrix.

    Parameters
    ----------
    results
        A result.
    task, ablation
        Labels; optional if there is only one.
    checkpoint, step
        Label or step; by default, the last usable checkpoint.
    ax
        Axes to draw on; by default, a figure of one column.

    Returns
    -------
    matplotlib.figure.Figure
        Rows are sources and columns targets, in causal order; edges that are not feasible or were
        not measured are grey. Lines separate the layers.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree, cell = film_of(results, task, ablation)
    graph = film(tree, *cell)
    at = moment_of(tree, checkpoint, step)
    figure, ax = canvas(ax, SINGLE, SINGLE * 0.92)
    image = matrix(ax, graph.matrix(at), vmin=0, aspect="equal")
    _name(ax, graph.layout.component, graph.layout.layer.tolist())
    ax.set_xlabel("target")
    ax.set_ylabel("source")
    status = graph.status[at]
    gap = "" if status in ("ok", "duplicate") else f": {status}"
    ax.set_title(f"{graph.task}, {graph.ablation}, step {graph.step[at]:,}{gap}")
    scale_beside(ax, image, f"influence ({over_prompts(tree, graph.task)})")
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return heatmap(results, checkpoint=chosen.checkpoint, **chosen.cell)


def _name(ax: Axes, names: tuple[str, ...], layers: list[int]) -> None:
    """Name components, or layers if there are many, and separate the layers with lines."""
    starts = [i for i, layer in enumerate(layers) if i == 0 or layer != layers[i - 1]]
    places: list[Any]
    if len(names) <= _NAMED:
        places, labels = list(range(len(names))), list(names)
    else:
        ends = [*starts[1:], len(layers)]
        places = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
        labels = [f"L{layers[start]}" for start in starts]
    size = 5 if len(names) > 20 else 6
    ax.set_xticks(places, labels, rotation=90, fontsize=size)
    ax.set_yticks(places, labels, fontsize=size)
    ax.tick_params(length=0)
    for start in starts[1:]:
        ax.axhline(start - 0.5, color="white", linewidth=0.8 if len(names) <= _NAMED else 0.3)
        ax.axvline(start - 0.5, color="white", linewidth=0.8 if len(names) <= _NAMED else 0.3)
    ax.spines[:].set(visible=True, color=INK)
