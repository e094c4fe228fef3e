"""The terminal: a console that control characters cannot fool, tables, and the progress bar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from cntbench.errors import printable
from cntbench.parallel import Progress
from cntbench.parallel.interrupts import check_interrupted
from cntbench.reporting.folding import FoldingTable
from cntbench.reporting.notebook import notebook_bar
from cntbench.reporting.pace import Pace


class Terminal(Console):
    """A console that removes control characters from labels, reasons and names.

    On a terminal, lines are broken at words; in files and pipes, with ``soft_wrap``, they stay
    whole.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        # Names such as dir:x:y are no emoji, and their numbers no values.
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, emoji=False, highlight=False)
        if self.is_terminal:
            self.soft_wrap = False
        if not self.width:  # COLUMNS=0
            self.width = 80

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as a console does, with its own control codes and styles."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def plain_table(
    title: str = "", *, text: Sequence[str] = (), numbers: Sequence[str] = (), keys: int = 1
) -> Table:
    """Return an empty table with columns of text and, to their right, columns of numbers.

    It is folded where it is wider than the terminal.

    Parameters
    ----------
    title
        In rich's markup.
    text
        Headings of columns that are aligned to the left and do not wrap.
    numbers
        Headings of columns that are aligned to the right and do not wrap.
    keys
        Number of columns that name the rows, and are repeated where the table is folded.
    """
    table = FoldingTable(
        keys=keys, title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for heading in text:
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


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
