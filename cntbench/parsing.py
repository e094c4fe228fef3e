"""Untrusted JSON and TOML: everything wrong with it is a `ValueError`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from typing import Any

#: Largest depth of nesting: far more than files need, far less than Python's limit.
_DEEPEST = 100


def parse_json(text: str | bytes, *, unique: bool = False) -> Any:
    """Parse JSON.

    Parameters
    ----------
    text
        The JSON; bytes in UTF-8, UTF-16 or UTF-32.
    unique
        Whether duplicate keys in an object are errors; otherwise the last value counts.

    Raises
    ------
    ValueError
        If it is malformed, nested too deeply, or has a duplicate key.
    """
    try:
        value = json.loads(text, object_pairs_hook=_distinct if unique else None)
    except RecursionError:
        raise _too_deep() from None
    return _checked(value)


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    ValueError
        If it is malformed or nested too deeply.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise _too_deep() from None
    _checked(table)
    return table


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
