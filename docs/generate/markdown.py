"""Markdown from Python: tables, and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

#: How many entries of an array are shown.
LISTED = 6


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, with line breaks and bars in cells escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(*names: object) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(f"`{name}`" for name in names)


def keywords(values: dict[str, object]) -> str:
    """Return keys and values as code, as TOML has them."""
    return code(*(f"{key} = {toml(value)}" for key, value in values.items()))


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        shown = [*map(toml, value[:LISTED]), *("…" for _ in value[LISTED : LISTED + 1])]
        return f"[{', '.join(shown)}]"
    if isinstance(value, dict):
        inside = ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def prose(docstring: str | None) -> tuple[str, str]:
    """Return a docstring's first line, and the rest without examples."""
    first, _, rest = inspect.cleandoc(docstring or "").partition("\n")
    return first, re.split(r"^>>> ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
