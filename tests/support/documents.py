"""The project's pages: their code blocks, and the commands in those."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A code block.

    Parameters
    ----------
    page, line
        Where it begins.
    language
        The language that its fence names.
    mark
        Text of the comment right before it; empty if there is none.
    text
        Its content.
    """

    page: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, without Sphinx's directives, which Sphinx checks."""
    code_blocks, mark = [], ""
    for token in MarkdownIt().parse(page.read_text("utf-8")):
        if token.type == "fence" and token.map and not token.info.startswith("{"):
            code_blocks.append(Block(page, token.map[0] + 1, token.info, mark, token.content))
        comment = token.type == "html_block" and re.fullmatch(r"<!-- (.*) -->\s*", token.content)
        mark = comment[1] if comment else ""
    return code_blocks


#: Every page that has code blocks.
PAGES = tuple(
    page
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
    if blocks(page)
)


def page_block(page: Path, mark: str) -> str:
    """Return the text of the block after a mark."""
    (text,) = (block.text for block in blocks(page) if block.mark == mark)
    return text


def commands(text: str) -> list[str]:
    """Return the simple commands of some lines for a shell, without comments."""
    simple: list[list[str]] = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        simple.append([])
        for word in lexer:
            if set(word) <= set("&|;"):
                simple.append([])
            else:
                simple[-1].append(word)
    return [shlex.join(words) for words in simple if words]
