"""The component graph, laid out by layer, at some checkpoints of training."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from numpy.typing import NDArray

from cntbench.errors import distinct
from cntbench.figures._results import Chosen, Results, film_of, moment_of, over_prompts
from cntbench.figures._style import COLOURS, DOUBLE, GREY, INK, SCALE, SINGLE, blank, canvas, styled
from cntbench.results.selection import indices_of
from cntbench.runs.options import Names, name_tuple
from cntbench.views.film import FilmView
from cntbench.views.film import film as view

#: Largest number of edges drawn at a checkpoint; the strongest are chosen.
DRAWN = 150
#: Panels in a row, and default number of panels.
_ROW, _PANELS = 4, 8
#: Largest numbers of components and of layers whose names are drawn.
_NAMED, _LAYERS = 40, 8
#: Points along an edge.
_POINTS = 24
#: Markers of components by kind.
SHAPES: dict[str, str] = {"head": "o", "MLP": "s", "expert": "D"}
_SENT, _RECEIVED = COLOURS[0], COLOURS[1]


@styled
def film(
    results: Results,
    *,
    task: str | None = None,
    ablation: str | None = None,
    checkpoints: Names | None = None,
    steps: Sequence[int] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the graph at some checkpoints, all on one scale.

    Parameters
    ----------
    results
        A result.
    task, ablation
        Labels; optional if there is only one.
    checkpoints, steps
        Checkpoints by label or by step; labels may be ranges (``"1000:5000"``, ``"count=4"``). By
        default, eight checkpoints evenly spaced in cumulative change of influence.
    ax
        Axes for one checkpoint, by default the last one.

    Returns
    -------
    matplotlib.figure.Figure
        A column for each layer, with heads as circles above the MLP, a square, or the experts,
        diamonds. Edges with more influence are wider and darker; the 150 strongest are drawn. The
        size of a component's left half is the mean influence that it receives over a feasible edge,
        that of its right half the mean influence that it sends.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree, cell = film_of(results, task, ablation)
    graph = view(tree, *cell)
    root = tree.to_dataset(inherit=False)
    named = indices_of(root, "checkpoint", name_tuple(checkpoints or (), "checkpoints"))
    named += [moment_of(tree, None, step) for step in steps or ()]
    distinct("checkpoint", [graph.checkpoint[moment] for moment in named])
    if ax is not None:
        figure, ax = canvas(ax, SINGLE, SINGLE)
        shown = named[:1] or [moment_of(tree, None, None)]
        panels = [ax]
    else:
        shown = named or _along(graph)
        columns = min(len(shown), _ROW)
        rows = -(-len(shown) // columns)
        figure = blank(
            DOUBLE if columns > 1 else SINGLE, (1.75 if columns > 1 else 2.2) * rows + 0.55
        )
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    weights = graph.weight[shown]
    scale = Normalize(0, float(np.nanmax(weights)) if np.isfinite(weights).any() else 1.0)
    size = _sizes(graph, shown)
    for column, (panel, at) in enumerate(zip(panels, shown, strict=False)):
        _draw(panel, graph, at, scale, size, named=column == 0)
    for panel in panels[len(shown) :]:
        panel.set_axis_off()
    bar = figure.colorbar(
        ScalarMappable(scale, SCALE), ax=panels, fraction=0.04, aspect=40, pad=0.01
    )
    bar.set_label(f"influence ({over_prompts(tree, graph.task)})")
    bar.outline.set_visible(False)
    if ax is None:
        _explain(figure, graph, narrow=len(shown) == 1)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return film(results, checkpoints=chosen.checkpoints, **chosen.cell)


def _along(graph: FilmView) -> list[int]:
    """Return checkpoints evenly spaced in cumulative change.

    If none was measured, return the last one, which shows its status.
    """
    measured = np.flatnonzero(np.array(graph.status) == "ok")
    if not len(measured):
        return [len(graph.status) - 1]
    if len(measured) <= _PANELS:
        return measured.tolist()
    change = np.abs(np.diff(graph.weight[measured], axis=0)).sum(axis=1)
    cumulative = np.concatenate([[0.0], np.cumsum(change)])
    spaced = np.linspace(0, cumulative[-1], _PANELS)
    nearest = np.abs(cumulative[:, None] - spaced).argmin(axis=0)
    return measured[np.unique(nearest)].tolist()


def _room(graph: FilmView) -> float:
    """Return the factor by which everything has to shrink for the graph to fit."""
    layout = graph.layout
    extent = max(float(np.ptp(layout.height)) + 1, len(np.unique(layout.depth)))
    return min(1.0, 5 / extent)


def _sizes(graph: FilmView, shown: Sequence[int]) -> float:
    """Return the area of a component of mean influence 1 [square points]."""
    numbers = np.concatenate([graph.sent[shown].ravel(), graph.received[shown].ravel()])
    largest = float(np.nanmax(numbers, initial=0.0))
    return 130 * _room(graph) ** 2 / largest if largest > 0 else 1.0


def _draw(
    ax: Axes, graph: FilmView, at: int, scale: Normalize, size: float, *, named: bool
) -> None:
    layout = graph.layout
    depth, height = layout.depth, layout.height
    chosen = graph.strongest(at, DRAWN)[::-1]  # the strongest last, on top
    weights = graph.weight[at, chosen]
    ends = zip(layout.source[chosen], layout.target[chosen], strict=True)
    curves = [curve(depth[s], height[s], depth[t], height[t]) for s, t in ends]
    share = scale(weights)
    edges = LineCollection(
        curves,
        array=weights,
        cmap=mpl.colormaps[SCALE],
        norm=scale,
        linewidths=0.15 + 2.6 * _room(graph) * np.asarray(share),
        alpha=np.clip(0.15 + np.asarray(share), 0, 1) if len(chosen) else None,
        capstyle="round",
        zorder=1,
        label="influence",
    )
    ax.add_collection(edges)
    kinds = np.array(layout.kind)
    dot = 3 if len(kinds) <= _NAMED else 0.5
    for kind in _present(graph):
        shape, members = SHAPES[kind], kinds == kind
        for side, values, hue in (
            ("left", graph.received[at], _RECEIVED),
            ("right", graph.sent[at], _SENT),
        ):
            area = size * np.nan_to_num(values[members])
            half: PathCollection = ax.scatter(
                depth[members],
                height[members],
                s=area,
                marker=MarkerStyle(shape, fillstyle=side),  # type: ignore[arg-type]
                color=hue,
                linewidths=0,
                zorder=3,
            )
            half.set_label(f"{side} {shape}")
        ax.scatter(
            depth[members], height[members], s=dot, marker=shape, color=INK, linewidths=0, zorder=4
        )
    if named and len(kinds) <= _NAMED:
        for name, x, y in zip(layout.component, depth, height, strict=True):
            ax.annotate(
                name.split(".")[1], (x, y), (0, 7), textcoords="offset points", ha="center",
                fontsize=5, color=INK, zorder=5,
            )  # fmt: skip
    layers = np.unique(layout.layer)
    layers = layers[:: -(-len(layers) // _LAYERS)]
    ax.set_xticks(layers, [f"L{layer}" for layer in layers], fontsize=6)
    ax.tick_params(length=0)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.margins(x=0.1)
    ax.set_ylim(height.min() - 0.9, height.max() + 0.9)
    ax.set_title(f"step {graph.step[at]:,}")
    if graph.status[at] not in ("ok", "duplicate"):
        ax.text(0.5, 0.5, graph.status[at], transform=ax.transAxes, ha="center", color=GREY)


def _present(graph: FilmView) -> list[str]:
    """Return the kinds of components that a graph has."""
    return [kind for kind in SHAPES if kind in graph.layout.kind]


def curve(x0: float, y0: float, x1: float, y1: float) -> NDArray[np.float64]:
    """Return the points of an edge, horizontal at both ends and bent around components between."""
    along = np.linspace(0, 1, _POINTS)
    rise = along**2 * (3 - 2 * along)
    bend = 0.28 * min(max(x1 - x0 - 1, 0), 3) * (1 if y0 + y1 >= 0 else -1)
    points = [x0 + (x1 - x0) * along, y0 + (y1 - y0) * rise + bend * np.sin(np.pi * along)]
    return np.stack(points, axis=1)


def _explain(figure: Figure, graph: FilmView, *, narrow: bool) -> None:
    edges = len(graph.layout.source)
    all_drawn = edges <= DRAWN
    drawn_edges = (
        f"all {edges} feasible edges" if all_drawn else f"the {DRAWN} strongest of {edges} edges"
    )
    figure.suptitle(f"{graph.task}, {graph.ablation}: {drawn_edges}", x=0.01, ha="left")

    def entry(shape: str, fill: str, hue: str, text: str) -> Line2D:
        return Line2D(
            [], [], linestyle="", marker=MarkerStyle(shape, fillstyle=fill),  # type: ignore[arg-type]
            color=hue, markerfacecoloralt="none", markeredgewidth=0, markersize=7, label=text,
        )  # fmt: skip

    handles = [
        entry("o", "left", _RECEIVED, "received over a feasible edge, mean"),
        entry("o", "right", _SENT, "sent over a feasible edge, mean"),
        *(entry(SHAPES[kind], "full", GREY, kind) for kind in _present(graph)),
    ]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=2 if narrow else len(handles),
        handletextpad=0.2,
        columnspacing=1.2,
    )
