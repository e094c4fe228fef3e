"""Parsers of untrusted JSON and TOML, which raise only `ValueError`, and of lists of names."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

#: Largest depth of nesting: far more than files need, far less than Python's limit.
_DEEPEST = 100
#: Most commas in one name.
_MOST_COMMAS = 16


def parse_json(text: str | bytes, *, unique: bool = False) -> Any:
    """Parse JSON.

    Raises a `ValueError` if the text is empty, malformed or nested too deeply, or repeats a key.

    Parameters
    ----------
    text
        The JSON; bytes in UTF-8, UTF-16 or UTF-32.
    unique
        Whether duplicate keys in an object are errors; otherwise the last value counts.
    """
    if not text.strip():
        raise ValueError("it is empty")
    try:
        value = json.loads(text, object_pairs_hook=_distinct if unique else None)
    except RecursionError:
        raise _too_deep() from None
    return _checked(value)


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML, or raise a `ValueError` if it is malformed or nested too deeply."""
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    _checked(table)
    return table


def split_names(text: str, known: Callable[[str], bool]) -> list[str]:
    """Split names at commas, except at those in a known name.

    Parameters
    ----------
    text
        The names; spaces around them do not count.
    known
        Whether a text with commas is one name.

    Examples
    --------
    >>> split_names("induction, a,b.csv", {"a,b.csv"}.__contains__)
    ['induction', 'a,b.csv']
    """
    parts = text.split(",")
    names: list[str] = []
    while parts:
        most = min(len(parts), _MOST_COMMAS + 1)
        joined = {count: ",".join(parts[:count]).strip() for count in range(most, 0, -1)}
        count = next((count for count, name in joined.items() if count == 1 or known(name)))
        names.append(joined[count])
        del parts[:count]
    return names


def is_texts(value: Any) -> TypeGuard[dict[str, str]]:
    """Return whether a value is an object of texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the key {duplicate!r} appears twice")
    return table


def _checked(value: Any) -> Any:
    """Return the value if it is not nested too deeply."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise _too_deep()


def _inside(value: Any) -> Iterable[Any]:
    """Return the values in an object or array, or nothing."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> ValueError:
    return ValueError(f"it is nested more than {_DEEPEST} levels deep")
