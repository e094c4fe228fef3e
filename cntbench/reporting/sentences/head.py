"""What a page is about, what it leaves out, and what its figures show, in sentences."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cntbench.errors import listed
from cntbench.reporting.wording import counted, number
from cntbench.views.metrics import PhaseView


def heading(title: str, task: str) -> str:
    """Return what was measured: a task in a model.

    Examples
    --------
    >>> heading("nano", "long_gap")
    'Long gap in nano'
    """
    words = task.replace("_", " ")
    return f"{words[:1].upper()}{words[1:]} in {title}"


def lede(root: xr.Dataset) -> str:
    """Return how much was measured, of what."""
    source = str(root.attrs.get("source", ""))
    sizes = root.sizes
    steps = root["step"].values
    ends = ""
    if len(steps) > 1:
        ends = f" (steps {int(steps.min()):,} to {int(steps.max()):,})"
    return (
        f"Causal influence between {counted(sizes['source'], 'component')}"
        f"{f' of {source}' if source else ''} at {counted(sizes['checkpoint'], 'checkpoint')}"
        f"{ends}, on {counted(sizes['task'], 'task')}, with "
        f"{counted(sizes['ablation'], 'ablation method')}."
    )


def edges_held(count: int, edges: int) -> str:
    """Say how many edges the page holds; empty if it holds all."""
    if count >= edges:
        return ""
    return (
        f"For each task and ablation, the page holds the {count:,} of {edges:,} edges with the "
        "highest peaks."
    )


def all_counted(left_out: int, count: int) -> str:
    """Say how many checkpoints statements about training leave out."""
    if left_out:
        gaps = "which is a gap" if left_out == 1 else "which are gaps"
        return (
            f"Statements about training leave out {left_out} of {counted(count, 'checkpoint')}, "
            f"{gaps} in the figures:"
        )
    if count == 1:
        return "The one checkpoint was measured."
    return f"All {count} checkpoints were measured, and no two have the same weights."


def size_words(roles: bool) -> str:
    """Say what the sizes of discs and rings mean."""
    unit = "relative to its layers' share" if roles else "per feasible edge"
    return (
        "The size of a disc shows what a component sends, that of a ring what it receives, both "
        f"{unit}."
    )


def over_models(circuits: str, models: int) -> str:
    """Say what the scores of methods are means over."""
    most = "up to " if models > 1 else ""  # a trained circuit has one
    return f"Scores are means over {most}{counted(models, 'model')} of each of: {circuits}."


def lost(status: str) -> str:
    """Say why a graph is empty at a checkpoint."""
    return {
        "ok": "No influence was measured at this checkpoint",
        "failed": "This checkpoint could not be measured",
        "missing": "This checkpoint is missing",
        "duplicate": "This checkpoint repeats another one",
    }.get(status, f"This checkpoint is {status}")


def phase_words(view: PhaseView, task: str, ablation: str) -> str:
    """Say which phases the graphs' metrics have, and where the readouts change most."""
    where = f"on {task} with {ablation} ablation"
    if view.count > 1:
        steps = listed(
            f"{step:,.0f} [{low:,.0f}, {high:,.0f}]"
            for step, low, high in zip(view.step, view.lower, view.upper, strict=True)
        )
        points = "a change point at step" if len(view.step) == 1 else "change points at steps"
        names = listed(name for name in view.name if name)
        named = f"; named {names}" if names else ""
        text = f"{view.count} phases {where}{_p(view.p_value)}, with {points} {steps}{named}."
    elif np.isnan(view.p_value):
        text = f"Too few checkpoints to tell phases {where}."
    else:
        text = (
            f"No change points {where}: phases describe the metrics no better than drift does"
            f"{_p(view.p_value)}."
        )
    moments = [
        f"{name.replace('_', ' ')} near step {step:,.0f}"
        for name, step in view.readout_step.items()
        if not np.isnan(step)
    ]
    if moments:
        subject = "readout changes" if len(moments) == 1 else "readouts change"
        text += f" The {subject} most: {listed(moments)}."
    return text


def _p(value: float) -> str:
    return "" if np.isnan(value) else f" (p = {number(value)})"
