"""When a task was learnt, in one sentence: the same in the terminal and on the page."""

from __future__ import annotations

import xarray as xr

from cntbench.report.page.wording import number, with_error
from cntbench.views.readouts import Course, course, steepest_rise


def learning(root: xr.Dataset, task: str) -> str:
    """Return the sentence: when accuracy rose, or that the task was not learnt."""
    found = course(root, task, "accuracy")
    if found is None:
        return f"This result does not say: accuracy on {task} was not measured."
    if found.count == 1:
        return (
            f"One checkpoint counts, so this result does not say: accuracy on {task} is "
            f"{with_error(found.first, found.first_error)} at step {found.start}."
        )
    rise = steepest_rise(root, task, "accuracy")
    if rise is None:
        return f"The task {task} was not learnt over these checkpoints: its accuracy never rose."
    if not found.stands_out:
        return (
            f"The task {task} was not learnt over these checkpoints, as far as this result can "
            f"tell: its accuracy went {ends(found)}, and the difference does not stand out from "
            "the standard errors."
        )
    return (
        f"Accuracy on {task} rose fastest between steps {rise.start} and {rise.stop}, from "
        f"{number(rise.before)} to {number(rise.after)}."
    )


def ends(found: Course) -> str:
    """Return from what, to what, a readout went."""
    return (
        f"from {with_error(found.first, found.first_error)} at step {found.start} to "
        f"{with_error(found.last, found.last_error)} at step {found.stop}"
    )
