"""Pages with content from the program: ``<!-- generated: NAME -->`` becomes Markdown.

Pages are changed when Sphinx reads them, so nothing generated is in a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from generate import catalogue, commands, dataset, plugins, specs

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = re.compile(r"^<!-- generated: (?P<name>.+?) -->$", re.MULTILINE)

#: The content for each mark.
GENERATED: dict[str, Callable[[], str]] = {
    **dataset.GENERATED,
    **specs.GENERATED,
    **catalogue.GENERATED,
    **plugins.GENERATED,
    **commands.GENERATED,
}


def filled(text: str) -> str:
    """Return a page with its marks replaced; KeyError for an unknown mark."""
    return MARK.sub(lambda mark: GENERATED[mark["name"]](), text)


def _read(app: Sphinx, name: str, content: list[str]) -> None:
    content[0] = filled(content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
