"""The progress bar of a terminal, and that of a notebook: one for each cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as ProgressBar
from rich.text import Text

from cntbench.errors import printable
from cntbench.parallel import Progress
from cntbench.parallel.interrupts import check_interrupted
from cntbench.reporting.wording import duration

#: Least time between two changes of a notebook's bar [s].
_PAUSE = 0.1
#: The bar of the latest cell, and the number of that cell.
_latest: tuple[int, Any] | None = None


class Pace:
    """The time left of counted work, by its mean pace since the total was last changed.

    What was done before, such as checkpoints of an interrupted run, does not count.
    """

    def __init__(self) -> None:
        self._total = self._first = self._count = 0
        self._began = self._last = 0.0

    def update(self, count: int, total: int) -> bool:
        """Note a count; return whether the total is a new one."""
        time, is_new = monotonic(), total != self._total
        if is_new or count < self._count:
            self._total, self._first, self._began = total, count, time
        self._count, self._last = count, time
        return is_new

    def seconds_left(self) -> float | None:
        """Return the time left [s]; None before the first unit of work is done."""
        done = self._count - self._first
        if not done:
            return None
        per_unit = (self._last - self._began) / done
        return max(0.0, per_unit * (self._total - self._count) - (monotonic() - self._last))

    @property
    def words(self) -> str:
        """The time left in words; empty where it is not known."""
        seconds = self.seconds_left()
        return "" if seconds is None else f"about {duration(seconds)} left"


class TimeLeft(ProgressColumn):
    """The time left in words, beside a bar."""

    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace

    def render(self, task: Task) -> Text:
        """Return the words."""
        return Text(self._pace.words)


@contextmanager
def progress_bar(console: Console, *, shown: bool | None = None) -> Iterator[Progress]:
    """Show a progress bar with the time left; yield the function that reports progress.

    The function takes the current work, its count and the total.

    A new total restarts the bar.

    Parameters
    ----------
    shown
        Whether to show it; by default, only on a terminal and in a notebook.
    """
    if console.is_jupyter and shown is not False:
        with notebook_bar() as report:
            yield report
        return
    disabled = not (console.is_terminal if shown is None else shown)
    pace = Pace()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(separator=" of "),
        TimeLeft(pace),
    )
    with ProgressBar(*columns, console=console, transient=True, disable=disabled) as bars:
        bar = bars.add_task("starting", total=None)

        def report(work: str, count: int, total: int) -> None:
            check_interrupted()
            if pace.update(count, total):
                bars.reset(bar, total=total)
            bars.update(bar, description=work, completed=count)

        yield report


@contextmanager
def notebook_bar() -> Iterator[Progress]:
    """Show a bar in the running cell; yield the function that reports work, count and total.

    Calls in a loop of one cell share its bar.
    """
    from IPython.display import HTML

    bar, pace = _bar_of_cell(), Pace()
    last = 0.0

    def report(work: str, count: int, total: int) -> None:
        nonlocal last
        check_interrupted()
        pace.update(count, total)
        if monotonic() - last >= _PAUSE:
            last = monotonic()
            bar.update(HTML(bar_html(work, count, total, pace.words)))

    try:
        yield report
    finally:
        bar.update(HTML(""))


def bar_html(work: str, count: int, total: int, time_left: str = "") -> str:
    """Return the bar as HTML, with the time left in words."""
    words = f"{work}, {count} of {total}{', ' if time_left else ''}{time_left}"
    return (
        f'<label style="font:13px system-ui,sans-serif"><progress value="{count}" '
        f'max="{max(total, 1)}"></progress> {escape(printable(words))}</label>'
    )


def _bar_of_cell() -> Any:
    global _latest
    from IPython.core.getipython import get_ipython
    from IPython.display import HTML, display

    shell = get_ipython()
    cell = shell.execution_count if shell else 0
    if _latest is None or _latest[0] != cell:
        _latest = cell, display(HTML(""), display_id=True)
    return _latest[1]
