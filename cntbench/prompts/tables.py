"""Tables of a user's prompts: JSONL, CSV and Parquet files."""

from __future__ import annotations

import csv
import importlib.util
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cntbench.errors import CntbenchError, nearest, shown
from cntbench.files.parsing import parse_json

#: Formats, by suffix.
SUFFIXES = (".jsonl", ".csv", ".parquet")
#: Endings of the names of columns of a CSV file that hold token ids, not text.
ID_COLUMNS = ("_idx", "_ids")


@dataclass(frozen=True)
class Row:
    """A row of a table: its values by column, plain data without missing ones.

    ``where`` is its file and line, for messages.
    """

    where: str
    cells: Mapping[str, Any]


def is_table(name: str) -> bool:
    """Return whether a name is that of a file of prompts."""
    return name.lower().endswith(SUFFIXES)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or raise a `CntbenchError`, also for another format."""
    if path.suffix.lower() not in SUFFIXES:
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
    """Return the rows of a file, by its suffix, or raise a `CntbenchError` that names the line."""
    readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
    rows = list(readers[path.suffix.lower()](content, path))
    if not rows:
        raise CntbenchError("has no prompts", where=str(path), hint="Every row is one prompt.")
    return rows


def _json_lines(content: bytes, path: Path) -> Iterator[Row]:
    hint = (
        'Every line is a prompt, such as {"clean": "…", "answer": "…"}. The name of a CSV file '
        "ends with .csv."
    )
    for number, line in enumerate(_text(content, path).split("\n"), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            record = parse_json(line, unique=True)
        except ValueError as error:
            raise CntbenchError(f"malformed JSON: {error}", where=where, hint=hint) from None
        if not isinstance(record, dict):
            raise CntbenchError(
                f"is not a JSON object: it is of type {type(record).__name__}",
                where=where,
                hint=hint,
            )
        yield Row(where, plain_cells(record))


def _csv(content: bytes, path: Path) -> Iterator[Row]:
    text = _text(content, path)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # prompts may be long
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}, line {lines.line_num + 1}"
        try:
            values = next(lines, None)
        except csv.Error as error:
            hint = (
                'Put a text with commas, quotes or line breaks between quotes, and write " as "".'
            )
            raise CntbenchError(f"malformed CSV: {error}", where=where, hint=hint) from None
        if values is None:
            return
        if not any(value.strip() for value in values):
            continue
        for value in values:
            if re.match(r'\s+".', value) and value in text:  # between quotes, it would be doubled
                raise CntbenchError(
                    f"has a quote after a space: {shown(value)}",
                    where=where,
                    hint='Put a cell between quotes with its space, " Mary", and write " as "".',
                )
        if header is None:
            header = values
            refuse_repeated(header, where)
            if len(header) == 1 and (other := re.search("[;\t|]", header[0])):
                what = f"columns are separated by {other[0]!r}"
                raise CntbenchError(what, where=where, hint="Separate them by commas.")
        else:
            if len(values) != len(header):
                raise CntbenchError(
                    f"has {len(values)} cells under {len(header)} columns",
                    where=where,
                    hint='A text with a comma stands in quotes: "…".',
                )
            cells = dict(zip(header, values, strict=True))
            yield Row(
                where, {name: _typed(name, cell) for name, cell in cells.items() if name and cell}
            )


def _typed(name: str, cell: str) -> Any:
    """Return a cell of a CSV file: numbers in brackets and in columns of ids, and text."""
    if cell.startswith("[") or name.endswith(ID_COLUMNS):
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
        hint = "Write it again, or write the prompts as .jsonl."
        raise CntbenchError(f"is not Parquet: {error}", where=str(path), hint=hint) from None
    for number, record in enumerate(records, start=1):
        yield Row(f"{path}, row {number}", plain_cells(record))


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CntbenchError(
            f"is not UTF-8 text: {error.reason} (byte 0x{content[error.start]:02x})",
            where=f"{path}, line {line}",
            hint="Save the file in UTF-8.",
        ) from None


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """Refuse columns of one name; columns without a name are not read."""
    repeated = [name for name in names if name and names.count(name) > 1]
    if repeated:
        raise CntbenchError(
            f"column {repeated[0]!r} appears twice", where=where, hint="Rename one of the two."
        )


def plain_cells(record: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the cells of a row, as Python's own values, without missing ones."""
    cells = ((str(name), plain(value)) for name, value in record.items())
    return {
        name: value
        for name, value in cells
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }


def plain(value: Any) -> Any:
    """Return arrays and tensors, and lists of them, as lists of Python's own values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return plain_cells(value)
    return [plain(element) for element in value] if isinstance(value, list | tuple) else value
