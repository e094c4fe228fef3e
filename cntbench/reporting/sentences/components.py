"""Which components carry a task, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from cntbench.components import kind_of
from cntbench.errors import listed
from cntbench.reporting.sentences import Answer
from cntbench.reporting.wording import number, with_error
from cntbench.views.circuit import CircuitView, Part, circuit
from cntbench.views.effects import effects, over_one_edge
from cntbench.views.heads import THRESHOLD

#: Number of components that are named.
_NAMED = 4


def who(tree: xr.DataTree, task: str) -> Answer:
    """Answer which components carry a task."""
    question, section = "Which components carry it?", ("effects", "Effects of components")
    view = circuit(tree, task)
    if view is None or not view.measured:
        return Answer(question, section, carriers(view, task))
    parts = view.part[:_NAMED]
    several = "by every ablation, " if len(view.ablation) > 1 else ""
    return Answer(
        question,
        section,
        carriers(view, task),
        points=tuple(_component(tree, view, part) for part in parts),
        sentences=(
            f"A component stands out if, {several}its effect is beyond its standard error, at a "
            "level of 5 % for all components together.",
            *_direct(tree),
            *(_elsewhere(tree, view, parts) if parts else []),
        ),
    )


def carriers(view: CircuitView | None, task: str) -> str:
    """Return a sentence: the components that a task depends on, named by what they do.

    There is no circuit if no checkpoint counts.
    """
    if view is None:
        return "No checkpoint was measured."
    readout = view.readout.replace("_", " ")
    if not view.measured or view.foremost is None:
        return f"Effects on the {readout} were not measured on {task}."
    foremost = view.part[0] if view.part else view.foremost
    name, effect, error = foremost.largest or (view.ablation[0], foremost.effect, foremost.error)
    by = f"{name} ablation"
    if not view.part:
        every = " by every ablation" if len(view.ablation) > 1 else ""
        return (
            f"None stands out{every} at step {view.step:,}: the largest effect on the {readout} on "
            f"{task} is that of {foremost.component}, "
            f"{with_error(effect, error)} by {by}."
        )
    first, *rest = view.part[:_NAMED]
    verb = "lowers" if effect < 0 else "raises"
    change = f"{verb} the {readout} on {task} by " + with_error(abs(effect), error)
    after = f", followed by {listed(map(_named, rest))}" if rest else "; no other stands out"
    return f"At step {view.step:,}, ablating {_named(first)} {change} ({by}){after}."


def _named(part: Part) -> str:
    """Return a component with what it does: ``L1.H1 (induction head)``."""
    if not part.does:
        return part.component
    return f"{part.component} ({listed(done.behaviour.name for done in part.does)} head)"


def _component(tree: xr.DataTree, view: CircuitView, part: Part) -> str:
    by_ablation = []
    for name in view.ablation:
        of_ablation = effects(tree, view.task, name)
        at = int(np.flatnonzero(of_ablation.step == view.step)[-1])
        effect, error = of_ablation.effect[at, part.index], of_ablation.error[at, part.index]
        by_ablation.append(f"{with_error(effect, error)} ({name})")
    return f"{part.component}: {listed(by_ablation)}{_does(part)}."


def _does(part: Part) -> str:
    """Say what a head does; empty for other components."""
    if kind_of(part.component) != "head":
        return ""
    if not part.does:
        return f"; none of its scores reaches {THRESHOLD}"
    return f"; it {listed(f'{d.behaviour.meaning} ({number(d.score)})' for d in part.does)}"


def _direct(tree: xr.DataTree) -> list[str]:
    """Say which ablations measure the direct effect only."""
    names = over_one_edge(tree.to_dataset(inherit=False))
    if not names:
        return []
    return [f"With {ablations(names)}, the effect is that of the edge to the unembedding alone."]


def ablations(names: Iterable[str]) -> str:
    """Return ``the ablation zero`` or ``the ablations zero and mean``."""
    names = list(names)
    return f"the ablation{'' if len(names) == 1 else 's'} {listed(names)}"


def _elsewhere(tree: xr.DataTree, view: CircuitView, parts: Iterable[Part]) -> list[str]:
    """Say how much the same components matter on the other tasks."""
    root = tree.to_dataset(inherit=False)
    at = int(np.flatnonzero(root["step"].values == view.step)[-1])
    effect = root["readout_effect"].sel(readout=view.readout).isel(checkpoint=at)
    largest = abs(effect.isel(source=[part.index for part in parts]))
    largest = largest.max(["ablation", "source"]).dropna("task")
    sizes = sorted(
        (-float(cell), str(cell["task"].item())) for cell in largest if cell["task"] != view.task
    )
    if not sizes:
        return []
    task = "task" if len(sizes) == 1 else "tasks"
    values = listed(f"{number(-size)} on {name}" for size, name in sizes)
    return [f"On the other {task}, the largest change from ablating any of them is {values}."]
