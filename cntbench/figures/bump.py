"""Ranks of spreaders and gatherers over training."""

from __future__ import annotations

from typing import get_args

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.dynamics.roles import Role
from cntbench.figures._results import Chosen, Results, film_of, require
from cntbench.figures._style import (
    DOUBLE,
    INK,
    OTHERS,
    blank,
    checkpoints_below,
    colour,
    line,
    styled,
)
from cntbench.views.bump import Bump
from cntbench.views.bump import bump as view

#: Number of components with colours and names: more would be indistinguishable before orders
#: settle.
FOREMOST = 4


@styled
def bump(results: Results, *, task: str | None = None, ablation: str | None = None) -> Figure:
    """Draw the ranks of spreaders and gatherers over training.

    Parameters
    ----------
    results
        A result with the group ``roles``.
    task, ablation
        Labels; optional if there is only one.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each role. The components with the best mean ranks have colours, the others are
        grey; triangles mark where the order changes by more than noise explains.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree, cell = film_of(results, task, ablation)
    figure = blank(DOUBLE, 2.7)
    panels = figure.subplots(1, 2)
    for ax, role in zip(panels, get_args(Role), strict=True):
        _draw(ax, require(view(tree, role, *cell)))
    figure.suptitle(
        f"{', '.join(cell)}: strength over what layers alone would give, ranked; ▼ the order "
        "changes more than noise explains",
        x=0.01, ha="left", fontsize=7,
    )  # fmt: skip
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return bump(results, **chosen.cell)


def _draw(ax: Axes, ranks: Bump) -> None:
    x = np.arange(len(ranks.step))
    foremost = ranks.foremost(FOREMOST).tolist()
    ranked = np.flatnonzero(np.isfinite(ranks.rank).any(axis=0))
    for number in ranked:
        if number not in foremost:
            name = ranks.component[number]
            line(ax, x, ranks.rank[:, number], color=OTHERS, linewidth=0.6, zorder=1, label=name)
    ends = []
    for index, number in enumerate(foremost):
        rank = ranks.rank[:, number]
        line(ax, x, rank, zorder=3, label=ranks.component[number], **colour(index))
        ends.append((float(rank[np.isfinite(rank)][-1]), number, colour(index)["color"]))
    beside, edge = 0.0, max(len(x) - 1, 1)
    for at, number, hue in sorted(ends):
        beside = max(at, beside + 0.6)  # names of tied components go below each other
        ax.text(1.015 * edge, beside, ranks.component[number], va="center", fontsize=6, color=hue)
    for index in x[ranks.reconfigures]:
        ax.annotate(
            "▼", (index, 1.0), (0, 1), xycoords=("data", "axes fraction"), color=INK,
            textcoords="offset points", ha="center", fontsize=5, gid="reconfigures",
        )  # fmt: skip
    ax.set_ylim(len(ranked) + 0.7, 0.3)
    ax.set_ylabel(f"rank among {len(ranked)} {ranks.role}s")
    ax.set_yticks(
        range(1, len(ranked) + 1) if len(ranked) < 7 else [1, *range(5, len(ranked) + 1, 5)]
    )
    checkpoints_below(ax, ranks.step)
    ax.set_xlim(-0.02 * edge, 1.14 * edge)
    ax.spines.bottom.set_bounds(0, edge)
