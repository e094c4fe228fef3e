"""CSV, plain or compressed with gzip: the table of edges as a file, all tables as a folder.

Spreadsheets run a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula. Text that begins
with one of these, with a tab or with a carriage return is therefore prefixed with ``'``, which
marks it as text. Text that begins with ``'`` is prefixed too, so that the prefix can be removed
again. Numbers are not changed.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import xarray as xr

from cntbench.exchange.tables import edges, is_header, table_names, write_tables
from cntbench.files.output import FileKind, head
from cntbench.results.storage import write_atomically

SUFFIXES: tuple[str, ...] = (".csv", ".csv.gz")
#: Number of characters to read in order to recognise a table.
_LONGEST = 4096
#: First characters of text that spreadsheets do not treat as plain text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def _is_table(path: Path) -> bool:
    opened = gzip.open if head(path).startswith(b"\x1f\x8b") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return is_header(file.readline(_LONGEST))


KIND = FileKind("a table of cntbench export", _is_table)


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the table of edges; compressed if the file's name ends in ``.gz``."""
    _write(edges(tree), path)


def files(tree: xr.DataTree, folder: Path) -> Iterator[Path]:
    """Yield the files that `write_folder` may write."""
    return (folder / f"{name}.csv" for name in table_names(tree))


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write all tables: ``TABLE.csv``."""
    return write_tables(tree, folder, ".csv", _write)


def _write(table: pd.DataFrame, path: Path) -> None:
    text = {name: _as_text(table[name]) for name in table.select_dtypes(exclude="number")}
    table = table.assign(**text).rename(columns=_quoted)
    write_atomically(path, partial(_write_packed if path.suffix == ".gz" else _write_plain, table))


def _as_text(column: pd.Series) -> pd.Series:
    """Return a column in which no text is a formula."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.rename_categories(_quoted)
    return column.map(_quoted)


def _quoted(value: object) -> object:
    text = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if text else value


def _write_plain(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False)


def _write_packed(table: pd.DataFrame, path: Path) -> None:
    # Without name and time in its header, the same table is the same file.
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed,
    ):
        table.to_csv(packed, index=False, mode="wb")
