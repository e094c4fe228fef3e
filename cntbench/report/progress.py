"""The progress bar: what is being done and the time left; unasked, on a terminal only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cntbench.interrupts import check_interrupted
from cntbench.models.trajectory import Progress as Report


@contextmanager
def progress_bar(console: Console, *, shown: bool | None = None) -> Iterator[Report]:
    """Yield a function to report to: what is being done, how much of it is done, and how much
    there is; a change of the total starts the bar anew.

    Parameters
    ----------
    console
        Where the bar is.
    shown
        Whether it is; by default, if the console is a terminal.
    """
    disabled = not (console.is_terminal if shown is None else shown)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=disabled) as bars:
        bar = bars.add_task("starting", total=None)

        def report(what: str, done: int, total: int) -> None:
            check_interrupted()
            if bars.tasks[0].total != total:
                bars.reset(bar, total=total)
            bars.update(bar, description=what, completed=done)

        yield report
