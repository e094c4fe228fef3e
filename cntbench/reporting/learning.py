"""When a task was learnt, in one sentence for the terminal and the page."""

from __future__ import annotations

import xarray as xr

from cntbench.reporting.wording import number, with_error
from cntbench.views.readouts import Course, course, steepest_rise


def learning(root: xr.Dataset, task: str) -> str:
    """Return a sentence: when accuracy rose, or that the task was not learnt."""
    accuracy = course(root, task, "accuracy")
    if accuracy is None:
        return f"This result does not say: accuracy on {task} was not measured."
    if accuracy.count == 1:
        return (
            f"This result does not say, because only one checkpoint counts: accuracy on {task} is "
            f"{with_error(accuracy.first, accuracy.first_error)} at step {accuracy.start}."
        )
    rise = steepest_rise(root, task, "accuracy")
    if rise is None:
        return f"The task {task} was not learnt over these checkpoints: its accuracy never rose."
    if not accuracy.stands_out:
        return (
            f"The task {task} was not learnt over these checkpoints, as far as this result can "
            f"tell: its accuracy went {ends(accuracy)}, no rise beyond the standard errors."
        )
    return (
        f"Accuracy on {task} rose fastest between steps {rise.start} and {rise.stop}, from "
        f"{number(rise.before)} to {number(rise.after)}."
    )


def ends(readout: Course) -> str:
    """Return the first and the last value of a readout, in words."""
    return (
        f"from {with_error(readout.first, readout.first_error)} at step {readout.start} to "
        f"{with_error(readout.last, readout.last_error)} at step {readout.stop}"
    )
