"""CSV, plain or compressed by gzip: the table of edges as a file, all tables as a folder."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import xarray as xr

from cntbench.exchange.tables import edges, tables
from cntbench.storage import make_folder, write_atomically

SUFFIXES: tuple[str, ...] = (".csv", ".csv.gz")


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the table of edges; compressed if the file's name ends in ``.gz``."""
    _write(edges(tree), path)


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write all tables: ``TABLE.csv``."""
    make_folder(folder)
    written = []
    for name, table in tables(tree):
        path = folder / f"{name}.csv"
        _write(table, path)
        written.append(path)
    return written


def _write(table: pd.DataFrame, path: Path) -> None:
    write_atomically(path, _packed(table) if path.suffix == ".gz" else _plain(table))


def _plain(table: pd.DataFrame) -> Callable[[Path], None]:
    return lambda path: table.to_csv(path, index=False)


def _packed(table: pd.DataFrame) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        # Without name and time in its header, the same table is the same file.
        with (
            path.open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed,
        ):
            table.to_csv(packed, index=False, mode="wb")

    return write
