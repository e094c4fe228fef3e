"""The terminal: nothing that is printed there, whoever wrote it, is obeyed by it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cntbench.errors import printable


class Terminal(Console):
    """A console that leaves control characters out of what others wrote: labels, reasons, names."""

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        # Names such as dir:x:y are no emoji.
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as a console does; its own control codes and styles stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)
