"""The columns of a table that make a prompt, by our names or by those of known data sets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from cntbench.errors import CntbenchError, nearest, shown
from cntbench.prompts.tables import ID_COLUMNS, Row

Key = Literal["clean", "corrupted", "answer", "wrong", "scored"]
#: Parts of a prompt that a column may hold.
KEYS: tuple[Key, ...] = ("clean", "corrupted", "answer", "wrong", "scored")
REQUIRED: tuple[Key, ...] = ("clean", "answer")

#: Columns of known data sets, the first whose columns are all there. A path leads into nested
#: columns, brackets take the element that another path gives, braces fill a text.
#:
#: The files of EAP-IG (Hanna et al. 2024, arXiv 2403.17806) have the ids of answers; the data sets
#: of MIB (Mueller et al. 2025, arXiv 2504.13151) are read as its circuit track reads them.
LAYOUTS: tuple[Mapping[Key, str], ...] = (
    {"clean": "clean", "corrupted": "corrupted", "answer": "correct_idx", "wrong": "incorrect_idx"},
    {
        "clean": "prompt",
        "corrupted": "s2_io_flip_counterfactual.prompt",
        "answer": " {metadata.indirect_object}",
        "wrong": " {metadata.subject}",
    },
    {
        "clean": "prompt",
        "corrupted": "symbol_counterfactual.prompt",
        "answer": "choices.label[answerKey]",
        "wrong": "symbol_counterfactual.choices.label[symbol_counterfactual.answerKey]",
    },
    {
        "clean": "prompt",
        "corrupted": "random_counterfactual.prompt",
        "answer": "{label}",
        "wrong": "{random_counterfactual.label}",
    },
)

_PATH = re.compile(r"[^.\[\]{}]+(?:\.[^.\[\]{}]+)*")
_BRACKETS = re.compile(rf"(?P<path>{_PATH.pattern})(?:\[(?P<index>{_PATH.pattern})\])?")
_BRACES = re.compile(r"\{([^{}]*)\}")
#: How numpy and torch print token ids, and what is nothing else in a column of ids.
_PRINTED_IDS = re.compile(r"tensor\(.*\)|\[\s*\d+(\s+(\d+|\.\.\.))+\s*\]", re.DOTALL)
_NUMBERS = re.compile(r"[\d\s,;()\[\]]+")


def choose_columns(rows: Sequence[Row], chosen: Mapping[Key, str], where: str) -> dict[Key, str]:
    """Return the column of each key: as given, else by its own name, else by a known layout.

    Raises a `CntbenchError` if a column that is given or required is not there, or one seems to be
    misspelt. ``where`` is the file.
    """
    present = list(dict.fromkeys(name for row in rows for name in row.cells))
    for key, column in chosen.items():
        for name in _names(column):
            if name not in present:
                raise CntbenchError(
                    f"there is no column {name!r} for {key!r}",
                    where=where,
                    hint=nearest(name, present),
                )
    by_name = {key: key for key in KEYS if key in present}
    columns: dict[Key, str] = {**by_name, **chosen}
    if not all(key in columns for key in REQUIRED):
        known = (
            layout
            for layout in LAYOUTS
            if all(name in present for column in layout.values() for name in _names(column))
        )
        columns = {**next(known, {}), **columns}
    missing = [key for key in REQUIRED if key not in columns]
    if missing:
        raise CntbenchError(
            f"there is no column {missing[0]!r}",
            where=where,
            hint=f"{nearest(missing[0], present)} Rename a column, or name it by "
            f'[parameters.columns] in a task\'s TOML: {missing[0]} = "…".',
        )
    used = {name for column in columns.values() for name in _names(column)}
    for key in KEYS:
        close = difflib.get_close_matches(
            key, [name for name in present if name not in used], cutoff=0.8
        )
        if key not in columns and close:
            raise CntbenchError(
                f"unknown column {close[0]!r}", where=where, hint=nearest(close[0], KEYS)
            )
    return columns


def cell(row: Row, key: Key, column: str) -> Any:
    """Return the value of a key in a row, or raise a `CntbenchError` that names both."""
    where = f"{row.where}: {key}"
    if "{" in column:
        return _BRACES.sub(lambda match: str(_value(row.cells, match[1], where)), column)
    value = _value(row.cells, column, where)
    unread = _NUMBERS if column.endswith(ID_COLUMNS) else _PRINTED_IDS
    if isinstance(value, str) and unread.fullmatch(value):
        raise CntbenchError(
            f"{shown(value)} is a text, and seems to be token ids",
            where=where,
            hint="Write token ids as a list with commas, such as [464, 3290].",
        )
    return value


def _value(cells: Mapping[str, Any], path: str, where: str) -> Any:
    match = None if path in cells else _BRACKETS.fullmatch(path)
    if match is None or match["index"] is None:
        return _followed(cells, path, where)
    value = _followed(cells, match["path"], where)
    index = _followed(cells, match["index"], where)
    if not isinstance(value, list) or type(index) is not int or not 0 <= index < len(value):
        raise CntbenchError(f"{path!r} has no element {index!r}", where=where)
    return value[index]


def _followed(cells: Mapping[str, Any], path: str, where: str) -> Any:
    # A column's own name may have dots.
    value: Any = cells
    for name in [path] if path in cells else path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise CntbenchError(
                f"{path!r} is missing" if "." in path else "is missing",
                where=where,
                hint="If any row has it, every row needs it.",
            )
        value = value[name]
    return value


def _names(column: str) -> Iterable[str]:
    """Return the columns of a table from which one of our columns is made."""
    paths = _BRACES.findall(column) if "{" in column else [column]
    matches = (_BRACKETS.fullmatch(path) for path in paths)
    return [
        part.split(".")[0]
        for match, path in zip(matches, paths, strict=True)
        for part in ((match["path"], match["index"]) if match else (path,))
        if part is not None
    ]
