"""The circuit of a task: the components that stand out, what they do, and what joins them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cntbench.components import kind_of
from cntbench.figures._results import OF_FILMS, Chosen, Results, lacking, moment_of, task_of
from cntbench.figures._style import INK, SCALE, SINGLE, canvas, scale_beside, styled
from cntbench.figures.film import SHAPES, curve
from cntbench.views.circuit import CircuitView, Part
from cntbench.views.circuit import circuit as view

_NEEDED = (*OF_FILMS, "readout_effect", "readout_effect_se")


@styled
def circuit(
    results: Results,
    *,
    task: str | None = None,
    checkpoint: str | None = None,
    step: int | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the components that a task depends on.

    Parameters
    ----------
    results
        A result.
    task
        Its label; optional if there is only one.
    checkpoint, step
        Label or step; by default, the last usable checkpoint.
    ax
        Axes to draw on; by default, a figure of one column.

    Returns
    -------
    matplotlib.figure.Figure
        The components whose ablation changes the readout beyond its standard errors by every
        ablation (`cntbench.views.circuit`), from early layers to late ones: heads are circles, MLPs
        squares, experts diamonds. Below a name stands what the head does, and the change of the
        readout by the first ablation that has any. Edges are the influence between them, by that
        ablation.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree, _, name = task_of(results, _NEEDED, task)
    at = moment_of(tree, checkpoint, step)
    shown = view(tree, name, at)
    if shown is None or not shown.measured:
        raise lacking(f"No effects on a readout were measured on {name}.", "cntbench run")
    figure, ax = canvas(ax, SINGLE, 2.6)
    places = _places(shown.part)
    scale = Normalize(0, 1)
    shares = np.array([share for _, _, share in shown.edge])
    curves = [curve(*places[s], *places[t]) for s, t, _ in shown.edge]
    ax.add_collection(
        LineCollection(
            curves[::-1],
            array=shares[::-1],
            cmap=mpl.colormaps[SCALE],
            norm=scale,
            linewidths=0.4 + 2.2 * shares[::-1],
            capstyle="round",
            zorder=1,
            label="influence",
        )
    )
    for part, (x, y) in zip(shown.part, places, strict=True):
        shape = SHAPES[kind_of(part.component)]
        ax.plot(x, y, shape, color=INK, markersize=5, zorder=3, gid=part.component)
        ax.annotate(
            _words(part), (x, y), (0, -6), textcoords="offset points", ha="center", va="top",
            fontsize=5.5, color=INK, zorder=4, linespacing=1.15,
        )  # fmt: skip
    if not shown.part:
        ax.text(0.5, 0.5, "none stands out", ha="center", transform=ax.transAxes)
    _frame(ax, shown, np.concatenate([np.reshape(places, (-1, 2)), *curves]))
    if shown.edge:
        label = f"influence, {shown.ablation[0]}\n(share of the largest)"
        scale_beside(ax, ScalarMappable(scale, SCALE), label)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return circuit(results, task=chosen.cell["task"], checkpoint=chosen.checkpoint)


def _places(parts: tuple[Part, ...]) -> list[tuple[float, float]]:
    """Return x and y: a column for each layer, and one for MLP or experts right of the heads."""
    columns = [(part.layer, kind_of(part.component) != "head") for part in parts]
    order = sorted(set(columns))
    positions = []
    for index, column in enumerate(columns):
        members = [other for other, its in enumerate(columns) if its == column]
        height = (len(members) - 1) / 2 - members.index(index)
        # Neighbouring columns are shifted against each other, so that edges pass between names.
        positions.append((float(order.index(column)), height + 0.25 * (order.index(column) % 2)))
    return positions


def _words(part: Part) -> str:
    """Return the name of a component, what it does, and its effect."""
    does = [done.behaviour.name for done in part.does]
    error = "" if np.isnan(part.error) else f" ± {part.error:.2f}"
    return "\n".join([part.component, *does, f"{part.effect:+.2f}{error}"])


def _frame(ax: Axes, shown: CircuitView, points: NDArray[np.float64]) -> None:
    """Set limits around what is drawn, and titles, without ticks."""
    (left, low), (right, high) = points.min(axis=0, initial=0), points.max(axis=0, initial=0)
    ax.set_xlim(left - 0.6, right + 0.6)
    ax.set_ylim(low - 0.8, high + 0.3)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.set_title(
        f"{shown.task}, step {shown.step:,}: change of the\n{shown.readout.replace('_', ' ')} "
        f"when a component is ablated ({shown.ablation[0]})"
    )
