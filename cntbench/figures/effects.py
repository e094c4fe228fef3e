"""What ablating each component does to a readout at one checkpoint, by every ablation."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cntbench.figures._results import Chosen, Results, lacking, moment_of, over_prompts, task_of
from cntbench.figures._style import COLOURS, GREY, SINGLE, canvas, styled
from cntbench.results.selection import index_of
from cntbench.views.effects import effects as view
from cntbench.views.heads import ScoredBehaviour, behaviours

#: Number of components.
DRAWN = 12
#: Longest name of an ablation of which three stand beside each other in the legend.
_SHORT = 12
_MARKERS = "osD^PX"
_NEEDED = ("readout_effect", "readout_effect_se", "status")


@styled
def effects(
    results: Results,
    *,
    task: str | None = None,
    checkpoint: str | None = None,
    step: int | None = None,
    readout: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the effects of components on a readout.

    Parameters
    ----------
    results
        A result.
    task
        Its label; optional if there is only one.
    checkpoint, step
        Label or step; by default, the last usable checkpoint.
    readout
        Its label; by default the logit difference, or else the first one whose effects were
        measured.
    ax
        Axes to draw on; by default, a figure of one column.

    Returns
    -------
    matplotlib.figure.Figure
        The change of the readout when a component is ablated (ablated minus clean), with bars of
        two standard errors, a colour for each ablation; the components with the largest effects by
        any ablation, at most 12. Beside the name of a head stands what it does.

    Raises
    ------
    CntbenchError
        If a label is wrong, or the result lacks what is drawn.
    """
    tree, root, name = task_of(results, _NEEDED, task)
    at = moment_of(tree, checkpoint, step)
    readout = _readout_of(root, name, at) if readout is None else readout
    index_of(root, "readout", readout)
    ablations = [str(label) for label in root["ablation"].values]
    views = [view(tree, name, ablation, readout) for ablation in ablations]
    size = np.nan_to_num(np.abs([of_ablation.effect[at] for of_ablation in views])).max(axis=0)
    order = [int(i) for i in np.argsort(-size, kind="stable")[:DRAWN] if size[i] > 0]
    has_axes, columns = ax is not None, 3 if max(map(len, ablations)) <= _SHORT else 2
    rows = -(-len(ablations) // columns)
    figure, ax = canvas(ax, SINGLE, 0.9 + 0.27 * max(3, len(order)) + 0.14 * rows)
    for number, (ablation, of_ablation) in enumerate(zip(ablations, views, strict=True)):
        shift = (number - (len(views) - 1) / 2) * 0.6 / max(len(views), 3)
        ax.errorbar(
            of_ablation.effect[at, order],
            np.arange(len(order)) + shift,
            xerr=2 * np.nan_to_num(of_ablation.error[at, order]),
            fmt=_MARKERS[number % len(_MARKERS)],
            color=COLOURS[number % len(COLOURS)],
            markersize=3,
            elinewidth=0.8,
            label=ablation,
        )
    does = behaviours(root, name, at)
    ax.set_yticks(range(len(order)), [_named(views[0].component[i], does) for i in order])
    ax.set_ylim(max(len(order), 1) - 0.4, -0.6)
    ax.axvline(0, color=GREY, linewidth=0.6, zorder=0)
    unit = views[0].unit
    words = readout.replace("_", " ") + ("" if unit == "1" else f" [{unit}]")
    ax.set_xlabel(f"change of the {words}\n{over_prompts(tree, name)}\nbars: ± 2 standard errors")
    ax.set_title(f"{name}, step {root['step'].values[at]:,}")
    if len(ablations) > 1 and has_axes:
        ax.legend(loc="best")
    elif len(ablations) > 1:
        figure.legend(loc="outside upper left", ncols=columns, handletextpad=0.1)
    return figure


def of_result(results: Results, chosen: Chosen) -> Figure:
    """Draw what ``cntbench figures`` draws; see `cntbench.figures._results.Chosen`."""
    return effects(results, task=chosen.cell["task"], checkpoint=chosen.checkpoint)


def _readout_of(root: xr.Dataset, task: str, at: int) -> str:
    """Return the readout that is drawn if none is named."""
    measured = root["readout_effect"].sel(task=task).isel(checkpoint=at).notnull()
    known = [str(name) for name in root["readout"].values if bool(measured.sel(readout=name).any())]
    if not known:
        what = f"No effects on a readout were measured on {task}."
        raise lacking(what, "cntbench run, on tasks that name effects")
    return "logit_difference" if "logit_difference" in known else known[0]


def _named(component: str, does: dict[str, tuple[ScoredBehaviour, ...]]) -> str:
    """Return the name of a component, and what it does."""
    words = ", ".join(done.behaviour.name for done in does.get(component, ()))
    return f"{component}\n{words}" if words else component
