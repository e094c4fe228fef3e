"""Parquet: the table of edges as a file, all tables as a folder."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import xarray as xr

from cntbench.errors import CntbenchError
from cntbench.exchange.tables import edges, is_header, table_names, write_tables
from cntbench.files.output import FileKind
from cntbench.results.storage import write_atomically

SUFFIXES: tuple[str, ...] = (".parquet",)


def _is_table(path: Path) -> bool:
    parquet = importlib.import_module("pyarrow.parquet")
    return is_header(",".join(parquet.read_schema(path).names))


KIND = FileKind("a table of cntbench export", _is_table)


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the table of edges."""
    _check_installed()
    _write(edges(tree), path)


def files(tree: xr.DataTree, folder: Path) -> Iterator[Path]:
    """Yield the files that `write_folder` may write."""
    return (folder / f"{name}.parquet" for name in table_names(tree))


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write all tables: ``TABLE.parquet``."""
    _check_installed()
    return write_tables(tree, folder, ".parquet", _write)


def _check_installed() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        raise CntbenchError(
            "Parquet files need pyarrow, which is not installed",
            hint="pip install 'cntbench[parquet]', or export to .csv.gz.",
        )


def _write(table: pd.DataFrame, path: Path) -> None:
    write_atomically(
        path, lambda unfinished: table.to_parquet(unfinished, index=False, engine="pyarrow")
    )
