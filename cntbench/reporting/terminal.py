"""The terminal: a console that control characters cannot fool, and tables that are never cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from cntbench.errors import printable

#: Wider than any cell.
_UNLIMITED = 100_000
#: Longer names of rows are broken where a table is too wide.
_LONG_NAME = 20


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


class FoldingTable(Table):
    """A table that is never wider than the terminal: no cell and no heading is cut.

    A table that is too wide breaks its headings, then the names of its rows, at spaces and
    underscores. If that is not enough, it is folded: some columns follow below the others, with the
    names of the rows repeated, as pandas does.

    It has columns of text and, to their right, columns of numbers.

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

    def __init__(
        self,
        title: str = "",
        *,
        text: Sequence[str] = (),
        numbers: Sequence[str] = (),
        keys: int = 1,
    ) -> None:
        super().__init__(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        self.keys = keys
        for heading in text:
            self.add_column(heading, no_wrap=True)
        for heading in numbers:
            self.add_column(heading, justify="right", no_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the title across the terminal, then the table or its parts."""
        if isinstance(self.title, str) and self.title:
            title = Text.from_markup(self.title, style="bold")
            yield Text("\n").join(title.wrap(console, options.max_width))
        for part in self._parts(console, options):
            yield from Table.__rich_console__(part, console, options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the widths that the table may have: at least that of a single column."""
        return Measurement(1, options.max_width)

    def _parts(self, console: Console, options: ConsoleOptions) -> list[Table]:
        unlimited = options.update(max_width=_UNLIMITED)

        def measured(columns: Sequence[Column]) -> list[_Measured]:
            return [_Measured.of(column, console, unlimited) for column in columns]

        columns, limit = measured(self.columns), options.max_width
        if self._width(columns) > limit:
            columns = measured([_with_broken_heading(column) for column in columns])
        if self._width(columns) > limit:
            names = [_with_broken_cells(c.column) for c in columns[: self.keys]]
            with_names = [*measured(names), *columns[self.keys :]]
            others = columns[self.keys :]
            folded = [self._width([*columns[: self.keys], other]) for other in others]
            if self._width(with_names) <= limit or max(folded, default=0) > limit:
                columns = with_names
        if self._width(columns) <= limit:
            return [self._part(columns)]
        keys = columns[: self.keys]
        parts: list[list[_Measured]] = [[*keys]]
        for column in columns[self.keys :]:
            is_single = len(parts[-1]) == len(keys)
            if not is_single and self._width([*parts[-1], column]) > limit:
                parts.append([*keys])
            parts[-1].append(column)
        return [self._part(part, limit) for part in parts]

    def _width(self, columns: Sequence[_Measured]) -> int:
        """Return the least width of a table of some columns without a cut."""
        _, right, _, left = self.padding
        between = left + right + (1 if self.box else 0)
        edges = 2 if self.box and self.show_edge else 0
        return sum(column.width for column in columns) + between * (len(columns) - 1) + edges

    def _part(self, columns: Sequence[_Measured], limit: int = _UNLIMITED) -> Table:
        """Return a table of some columns, without the title."""
        part = copy(self)
        part.title = None
        too_wide = self._width(columns) > limit
        part.columns = [
            replace(
                measured.column,
                no_wrap=measured.column.no_wrap and not too_wide,
                overflow="fold",
                min_width=None if too_wide else measured.width,
                _index=index,
            )
            for index, measured in enumerate(columns)
        ]
        return part


@dataclass(frozen=True)
class _Measured:
    """A column, and the least widths at which its cells, and all of it, are not cut."""

    column: Column
    body: int
    width: int

    @classmethod
    def of(cls, column: Column, console: Console, options: ConsoleOptions) -> _Measured:
        cells = [Measurement.get(console, options, cell) for cell in column.cells]
        widths = [cell.maximum if column.no_wrap else cell.minimum for cell in cells]
        body = max([column.min_width or 0, *widths])
        heading = Measurement.get(console, options, column.header).maximum
        return cls(column, body, max(body, heading))


def _with_broken_heading(measured: _Measured) -> Column:
    """Return a column whose heading is about as wide as its cells."""
    heading = measured.column.header
    if isinstance(heading, str):
        heading = "\n".join(_broken(line, measured.body) for line in heading.split("\n"))
    return replace(measured.column, header=heading)


def _with_broken_cells(column: Column) -> Column:
    """Return a column whose longer names have two lines or more."""
    cells = [_broken(c, _LONG_NAME) if isinstance(c, str) else c for c in column.cells]
    return replace(column, _cells=cells)


def _broken(text: str, width: int) -> str:
    """Break a text at spaces and after underscores, if it is longer than a width."""
    lines = [""]
    for piece in re.findall(r"[^ _]+[ _]*|[ _]+", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
