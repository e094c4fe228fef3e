"""The terminal: a console that control characters cannot fool, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table

from cntbench.errors import printable
from cntbench.reporting.folding import FoldingTable


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
