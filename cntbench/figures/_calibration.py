"""Power of claims on simulated films, over the size of the effect, the length and the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cntbench.analysis.calibration.rates import rate_interval
from cntbench.errors import CntbenchError
from cntbench.figures._style import COLOURS, DOUBLE, GREY, blank, styled

#: Coordinates that are varied one at a time, and their labels.
_AXES = {"size": "size of the effect", "checkpoints": "checkpoints", "edges": "edges"}


@styled
def power_curves(dataset: xr.Dataset) -> Figure:
    """Draw how often claims are supported on films for which they are true.

    Parameters
    ----------
    dataset
        Of `cntbench.analysis.calibration.rates.calibrate`.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each claim; panels over the size of the effect, the length of the film and the
        number of edges, each with 95 % intervals. The dashed line is a power of 0.8.

    Raises
    ------
    CntbenchError
        If no claim is known to be true of any film.
    """
    true = dataset.isel(case=np.flatnonzero(dataset["truth"].values.astype(str) == "true"))
    claims = list(dict.fromkeys(map(str, true["claim"].values)))
    if not claims:
        raise CntbenchError("no claim is known to be true of these films: there is no power")
    figure = blank(DOUBLE, 0.5 + 1.1 * len(claims))
    panels = figure.subplots(len(claims), len(_AXES), sharey=True, squeeze=False)
    for ax, label in zip(panels[-1], _AXES.values(), strict=True):
        ax.set_xlabel(label)
    for row, claim in zip(panels, claims, strict=True):
        of_claim = true.isel(case=np.flatnonzero(true["claim"].values.astype(str) == claim))
        kinds = dict.fromkeys(map(str, of_claim["kind"].values))
        for ax, axis in zip(row, _AXES, strict=True):
            ax.axhline(0.8, color=GREY, linestyle="--", linewidth=0.5, zorder=0)
            for column, kind in enumerate(kinds):
                _curve(ax, of_claim, kind, axis, COLOURS[column % len(COLOURS)])
            ax.set_ylim(-0.05, 1.05)
        row[0].set_ylabel(claim.replace("_", "\n"), fontsize=6)
        curves = {
            name: line
            for ax in row
            for line, name in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        shown = [kind for kind in kinds if kind in curves]
        row[-1].legend(
            [curves[kind] for kind in shown], shown, fontsize=5, handlelength=1,
            loc="upper left", bbox_to_anchor=(1.0, 1.05),
        )  # fmt: skip
    figure.supylabel("share of films on which the claim is supported", fontsize=7)
    return figure


def _curve(ax: Axes, cases: xr.Dataset, kind: str, axis: str, hue: str) -> None:
    """Draw the cases of a kind that differ from its other films along one axis only."""
    films = int(cases.attrs["films"])
    of_kind = cases.isel(case=np.flatnonzero(cases["kind"].values.astype(str) == kind))
    others = [name for name in _AXES if name != axis]
    usual = {name: _usual(of_kind[name].values) for name in others}
    at_usual = np.ones(of_kind.sizes["case"], dtype=bool)
    for name, value in usual.items():
        values = of_kind[name].values
        at_usual &= np.isnan(values) if np.isnan(value) else values == value
    chosen = of_kind.isel(case=np.flatnonzero(at_usual)).sortby(axis)
    if np.isnan(chosen[axis].values).any():
        return
    count = chosen["supported"].values
    bounds = np.array([rate_interval(int(n), films) for n in count])
    rate = count / films
    error = np.abs(bounds.T - rate)
    ax.errorbar(
        chosen[axis].values, rate, yerr=error, color=hue, marker="o", markersize=2.5,
        linewidth=0.8, elinewidth=0.5, label=kind,
    )  # fmt: skip


def _usual(values: NDArray[Any]) -> float:
    """Return the value that most cases have."""
    known, counts = np.unique(values.astype(float), return_counts=True)
    return float(known[counts.argmax()])
