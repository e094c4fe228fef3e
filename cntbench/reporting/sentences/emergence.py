"""When a task was learnt, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from cntbench.errors import listed
from cntbench.reporting.sentences import Answer
from cntbench.reporting.wording import counted, number, with_error
from cntbench.results.film import usable
from cntbench.views.emergence import DatedStep, EmergenceView, emergence
from cntbench.views.readouts import usable_accuracy
from cntbench.views.tasks import Kind, kinds

#: Checkpoints that are named.
_NAMED = 4
#: What other tasks are called.
_WORDS: dict[Kind, tuple[str, str]] = {
    "variant": ("the variant", "the variants"),
    "control": ("the control", "the controls"),
    "other": ("the other task", "the other tasks"),
}


def when(root: xr.Dataset, task: str) -> Answer:
    """Answer when a task was learnt."""
    question = f"When did {task} emerge?" if task == "induction" else f"When was {task} learnt?"
    points: list[str] = []
    if emergence(root, task, draws=0) is not None:
        points.append(f"Over the whole training, accuracy went {_ends(root, task)}.")
    return Answer(
        question,
        ("readouts", "Readouts"),
        learnt(root, task),
        note=left_out(root),
        points=(*points, *others(root, task)),
    )


def learnt(root: xr.Dataset, task: str) -> str:
    """Return a sentence: when accuracy rose, or that the task was not learnt."""
    accuracy, errors, steps = usable_accuracy(root, task)
    if not len(accuracy):
        return f"This result does not say: accuracy on {task} was not measured."
    if len(accuracy) == 1:
        return (
            f"This result does not say, because only one checkpoint counts: accuracy on {task} is "
            f"{with_error(accuracy[0], errors[0])} at step {_step(steps[0])}."
        )
    risen = emergence(root, task)
    if risen is not None:
        return _risen(task, risen)
    if accuracy[-1] > accuracy[0]:
        return (
            f"The task {task} was not learnt over these checkpoints, as far as this result can "
            f"tell: its accuracy went {_ends(root, task)}, no rise beyond the standard errors."
        )
    return (
        f"The task {task} was not learnt over these checkpoints: its accuracy did not rise, from "
        f"{number(accuracy[0])} at step {_step(steps[0])} to {number(accuracy[-1])} at step "
        f"{_step(steps[-1])}."
    )


def _risen(task: str, risen: EmergenceView) -> str:
    steepest = risen.steepest
    rise = f"fastest between steps {_step(steepest.step)} and {_step(risen.until)}"
    return (
        f"Accuracy on {task} stays above its level at step {_step(risen.start)} "
        f"({number(risen.level)}) from step {_moment(risen.onset, '95 % interval ')} on, is "
        f"half-way up at step {_moment(risen.halfway)}, and rises {rise}{_interval(steepest)}."
    )


def _moment(moment: DatedStep, about: str = "") -> str:
    return f"{_step(moment.step)}{_interval(moment, about)}"


def _interval(moment: DatedStep, about: str = "") -> str:
    if np.isnan(moment.low):
        return ""
    return f" ({about}{_step(moment.low)} to {_step(moment.high)})"


def _step(step: float) -> str:
    """Return a step with separators: 143,000."""
    return f"{step:,.0f}"


def _ends(root: xr.Dataset, task: str) -> str:
    """Return the first and the last accuracy, in words."""
    values, errors, steps = usable_accuracy(root, task)
    ends = (f"{with_error(values[i], errors[i])} at step {_step(steps[i])}" for i in (0, -1))
    return f"from {' to '.join(ends)}"


def others(root: xr.Dataset, task: str) -> list[str]:
    """Describe the other tasks: variants, which should be learnt too, and controls."""
    of_kind: dict[Kind, list[tuple[float, str]]] = {}
    for name, kind in kinds(root, task).items():
        accuracy, *_ = usable_accuracy(root, name)
        if len(accuracy):
            risen = emergence(root, name, draws=0)
            since = "" if risen is None else f" (risen since step {_step(risen.onset.step)})"
            words = f"{number(accuracy[-1])} on {name}{since}"
            of_kind.setdefault(kind, []).append((accuracy[-1], words))
    return [
        f"At the last step, accuracy on {_WORDS[kind][len(of_tasks) > 1]} is "
        f"{listed(words for _, words in sorted(of_tasks, key=lambda of_task: -of_task[0]))}."
        for kind in _WORDS
        if (of_tasks := of_kind.get(kind))
    ]


def left_out(root: xr.Dataset) -> str:
    """Say which checkpoints do not count, and why; empty if all do."""
    gaps = np.flatnonzero(~usable(root)).tolist()
    if not gaps:
        return ""
    count = counted(root.sizes["checkpoint"], "checkpoint")
    verb = "does" if len(gaps) == 1 else "do"
    return f"{len(gaps)} of {count} {verb} not count: {listed(_gaps(root, gaps), _NAMED)}."


def _gaps(root: xr.Dataset, gaps: Sequence[int]) -> list[str]:
    names = []
    for i in gaps:
        status = root["status"].values[:, :, i]
        kinds_of = sorted({str(word) for word in status.ravel() if word != "ok"})
        names.append(f"{root['checkpoint'].values[i]} ({listed(kinds_of)})")
    return names
