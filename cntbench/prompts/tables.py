"""Tables of a user's prompts: JSONL, CSV and Parquet files, and rows that are in memory."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cntbench.errors import CntbenchError, nearest
from cntbench.parsing import parse_json

#: Formats, by suffix.
SUFFIXES = (".jsonl", ".csv", ".parquet")
#: Ends of the names of a CSV file's columns that hold token ids, not text.
_IDS = ("_idx", "_ids")


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Parameters
    ----------
    where
        Where it stands, for messages: file and line.
    cells
        Its values by column, plain data; missing ones are left out.
    """

    where: str
    cells: Mapping[str, Any]


def is_table(name: str) -> bool:
    """Return whether a name is that of a file of prompts."""
    return name.endswith(SUFFIXES)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    CntbenchError
        If it is of another format, or cannot be read.
    """
    if path.suffix not in SUFFIXES:
        raise CntbenchError(
            f"is not a file of prompts: {path.suffix or 'no suffix'!r}",
            where=str(path),
            hint=nearest(path.suffix, SUFFIXES),
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise CntbenchError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="The path of a file of prompts is relative to the file that names it; on the "
            "command line and in Python, to the current folder.",
        ) from None


def rows_of(content: bytes, path: Path) -> list[Row]:
    """Return the rows of a file, by its suffix.

    Raises
    ------
    CntbenchError
        If it is malformed, naming the line, or has no rows.
    """
    readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
    rows = list(readers[path.suffix](content, path))
    if not rows:
        raise CntbenchError("has no prompts", where=str(path), hint="Every row is one prompt.")
    return rows


def rows_in_memory(prompts: Any, where: str) -> list[Row]:
    """Return the rows of a DataFrame, of a sequence of mappings, or of a mapping of columns.

    Raises
    ------
    CntbenchError
        If it is something else, or has no rows.
    """
    hint = (
        "Pass a list of dicts with the keys clean, answer and, if there are any, corrupted and "
        "wrong; a DataFrame with such columns; or a dict of such columns, for instance of tensors "
        "of tokens."
    )
    if hasattr(prompts, "to_dict") and hasattr(prompts, "columns"):
        records: Any = prompts.to_dict(orient="records")
    elif isinstance(prompts, Mapping):
        columns = {name: _plain(column) for name, column in prompts.items()}
        for name, column in columns.items():
            if not isinstance(column, list):
                raise CntbenchError(f"is not a column: {_kind(column)}", where=_at(where, name))
        heights = {name: len(column) for name, column in columns.items()}
        if len(set(heights.values())) > 1:
            counts = ", ".join(f"{name} {height}" for name, height in heights.items())
            raise CntbenchError(f"columns differ in their number of rows: {counts}", where=where)
        names = list(columns)
        records = [
            dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)
        ]
    else:
        records = prompts
    if not isinstance(records, Sequence) or isinstance(records, str | bytes):
        raise CntbenchError(f"cannot be read as prompts: {_kind(records)}", where=where, hint=hint)
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise CntbenchError(
                f"is not a prompt: {_kind(record)}", where=f"{where}[{number}]", hint=hint
            )
    if not len(records):
        raise CntbenchError("there are no prompts", where=where, hint=hint)
    return [Row(f"{where}[{number}]", _cells(record)) for number, record in enumerate(records)]


def fingerprint(rows: Iterable[Row]) -> bytes:
    """Return what rows in memory say, as bytes."""
    return json.dumps([row.cells for row in rows], sort_keys=True, default=str).encode()


def _json_lines(content: bytes, path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(content, path).split("\n"), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            record = parse_json(line, unique=True)
        except ValueError as error:
            raise CntbenchError(f"malformed JSON: {error}", where=where) from None
        if not isinstance(record, dict):
            raise CntbenchError(
                f"is not a JSON object: {_kind(record)}",
                where=where,
                hint='Every line is a prompt, such as {"clean": "…", "answer": "…"}.',
            )
        yield Row(where, _cells(record))


def _csv(content: bytes, path: Path) -> Iterator[Row]:
    text = _text(content, path)
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}, line {lines.line_num + 1}"
        try:
            values = next(lines, None)
        except csv.Error as error:
            raise CntbenchError(f"malformed CSV: {error}", where=where) from None
        if values is None:
            return
        if header is None:
            header = values
            repeated = [name for name in header if header.count(name) > 1]
            if repeated:
                raise CntbenchError(f"column {repeated[0]!r} appears twice", where=where)
        elif values:
            if len(values) != len(header):
                raise CntbenchError(
                    f"has {len(values)} cells under {len(header)} columns",
                    where=where,
                    hint='A text with a comma stands in quotes: "…".',
                )
            cells = dict(zip(header, values, strict=True))
            yield Row(where, {name: _typed(name, cell) for name, cell in cells.items() if cell})


def _typed(name: str, cell: str) -> Any:
    """Return a cell of a CSV file: numbers in brackets and in columns of ids, and text."""
    if cell.startswith("[") or name.endswith(_IDS):
        try:
            return parse_json(cell)
        except ValueError:
            return cell
    return cell


def _parquet(content: bytes, path: Path) -> Iterator[Row]:
    if importlib.util.find_spec("pyarrow") is None:
        raise CntbenchError(
            "Parquet files need pyarrow, which is not installed",
            where=str(path),
            hint="pip install 'cntbench[parquet]', or write the prompts as .jsonl.",
        )
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        records = parquet.read_table(io.BytesIO(content)).to_pylist()
    except (ValueError, OSError) as error:  # pyarrow's own errors are among them
        raise CntbenchError(f"is not Parquet: {error}", where=str(path)) from None
    for number, record in enumerate(records, start=1):
        yield Row(f"{path}, row {number}", _cells(record))


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CntbenchError(f"not UTF-8 text: {error}", where=str(path)) from None


def _cells(record: Mapping[Any, Any]) -> dict[str, Any]:
    plain = ((str(name), _plain(value)) for name, value in record.items())
    return {
        name: value
        for name, value in plain
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }


def _plain(value: Any) -> Any:
    """Return arrays and tensors, and lists of them, as lists of Python's own values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return _cells(value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _kind(value: Any) -> str:
    return f"it is of type {type(value).__name__}"


def _at(where: str, name: object) -> str:
    return f"{where}: {name}"
