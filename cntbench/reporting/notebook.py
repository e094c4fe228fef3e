"""The progress bar of a notebook: one for each cell, gone when the work is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from time import monotonic
from typing import Any

from cntbench.errors import printable
from cntbench.parallel import Progress
from cntbench.parallel.interrupts import check_interrupted
from cntbench.reporting.pace import Pace

#: Least time between two changes of the bar [s].
_PAUSE = 0.1
#: The bar of the latest cell, and the number of that cell.
_latest: tuple[int, Any] | None = None


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
