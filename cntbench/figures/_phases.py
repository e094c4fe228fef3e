"""Phases in the background of plots over training: shades, change points and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cntbench.figures._style import GREY, INK
from cntbench.views.metrics import PhaseView
from cntbench.views.steps import StepAxis

#: Shades of phases, in turn.
_SHADES = ("#ffffff", "#f1f1f1")


def shade(
    axes: Sequence[Axes], phases: PhaseView, axis: StepAxis, steps: NDArray[np.int64]
) -> None:
    """Shade the phases of axes of steps, and mark change points with their intervals."""
    ends = axis.place([steps[0], *phases.step, steps[-1]])
    for ax in axes:
        for number, (start, stop) in enumerate(pairwise(ends)):
            ax.axvspan(start, stop, color=_SHADES[number % 2], linewidth=0, zorder=-3)
        for x in axis.place(phases.step):
            ax.axvline(x, color=INK, linewidth=0.7, zorder=-1, label="change point")
    for lower, upper in zip(axis.place(phases.lower), axis.place(phases.upper), strict=True):
        for ax in axes:
            ax.axvspan(lower, upper, ymin=0, ymax=0.035, color=GREY, linewidth=0, zorder=-2)


def name_above(ax: Axes, phases: PhaseView, axis: StepAxis, steps: NDArray[np.int64]) -> None:
    """Name the phases above axes of steps."""
    ends = axis.place([steps[0], *phases.step, steps[-1]])
    above: Any = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    for name, (start, stop) in zip(phases.name, pairwise(ends), strict=True):
        ax.text((start + stop) / 2, 1.01, name, fontsize=6, color=INK, **above)


def in_words(phases: PhaseView) -> str:
    """Return the phases in words, for a caption."""
    if phases.count < 1:
        return "no phases were looked for"
    chance = "" if np.isnan(phases.p_value) else f", p = {phases.p_value:.3f}"
    if phases.count == 1:
        return f"one phase, no change points{chance}"
    return f"{phases.count} phases{chance}\nbars below: 95 % intervals of the change points"
