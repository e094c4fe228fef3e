"""What pages take from the program itself: ``<!-- generated: NAME -->`` becomes Markdown.

Pages are changed as Sphinx reads them, so nothing that is generated lies in a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from generate import catalogue, commands, dataset, plugins, specs

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = re.compile(r"^<!-- generated: (?P<name>.+?) -->$", re.MULTILINE)

#: What each mark becomes.
GENERATED: dict[str, Callable[[], str]] = {
    **dataset.GENERATED,
    **specs.GENERATED,
    **catalogue.GENERATED,
    **plugins.GENERATED,
    **commands.GENERATED,
}


def filled(text: str) -> str:
    """Return a page with its marks replaced; KeyError for one that nothing is made for."""
    return MARK.sub(lambda found: GENERATED[found["name"]](), text)


def _read(app: Sphinx, name: str, content: list[str]) -> None:
    content[0] = filled(content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
