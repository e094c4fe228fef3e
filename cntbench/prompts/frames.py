"""A user's prompts in memory: lists of dicts, DataFrames, and columns such as tensors of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

from cntbench.errors import CntbenchError
from cntbench.prompts.tables import Row, plain, plain_cells, refuse_repeated

_HINT = (
    "Pass a list of dicts with the keys clean, answer and, if there are any, corrupted and wrong; "
    "a DataFrame with such columns; or a dict of such columns, for instance of tensors of tokens."
)


def rows_in_memory(prompts: Any, where: str) -> list[Row]:
    """Return the rows of a DataFrame, of mappings one by one, or of a mapping of columns.

    DataFrames are those of pandas and polars, and tables of pyarrow. Raises a `CntbenchError` for
    anything else, and if there are no rows.
    """
    if hasattr(prompts, "to_dicts"):  # polars
        records = prompts.to_dicts()
    elif hasattr(prompts, "to_pylist"):  # pyarrow
        records = prompts.to_pylist()
    elif hasattr(prompts, "to_dict") and hasattr(prompts, "columns"):
        refuse_repeated([str(name) for name in prompts.columns], where)
        # Missing values have several types in pandas; None is one of Python's own.
        records = prompts.astype(object).where(prompts.notna(), None).to_dict(orient="records")
    elif isinstance(prompts, Mapping):
        records = _of_columns(prompts, where)
    elif isinstance(prompts, Iterable) and not isinstance(prompts, str | bytes):
        if hasattr(prompts, "tolist"):  # an array or a tensor, without names of columns
            raise _unreadable(prompts, where)
        records = list(prompts)
    else:
        raise _unreadable(prompts, where)
    for number, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise CntbenchError(
                f"is not a prompt: {_kind(record)}", where=f"{where}[{number}]", hint=_HINT
            )
    if not records:
        raise CntbenchError("there are no prompts", where=where, hint=_HINT)
    return [Row(f"{where}[{number}]", plain_cells(row)) for number, row in enumerate(records)]


def fingerprint(rows: Iterable[Row]) -> bytes:
    """Return the content of rows in memory as bytes."""
    return json.dumps([row.cells for row in rows], sort_keys=True, default=str).encode()


def _of_columns(prompts: Mapping[Any, Any], where: str) -> list[dict[str, Any]]:
    columns = {str(name): plain(column) for name, column in prompts.items()}
    for name, column in columns.items():
        if not isinstance(column, list):
            raise CntbenchError(
                f"is not a column: {_kind(column)}", where=f"{where}: {name}", hint=_HINT
            )
    heights = {name: len(column) for name, column in columns.items()}
    if len(set(heights.values())) > 1:
        counts = ", ".join(f"{name} {height}" for name, height in heights.items())
        raise CntbenchError(f"columns differ in their number of rows: {counts}", where=where)
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, values, strict=True)) for values in rows]


def _unreadable(prompts: Any, where: str) -> CntbenchError:
    is_path = isinstance(prompts, str | PathLike)
    hint = "The path of a file of prompts is a task: pass it as such." if is_path else _HINT
    return CntbenchError(f"cannot be read as prompts: {_kind(prompts)}", where=where, hint=hint)


def _kind(value: Any) -> str:
    return f"it is of type {type(value).__name__}"
