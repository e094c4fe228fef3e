"""Helpers of the writers: the cells that have numbers, and well-formed XML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.errors import CntbenchError, StorageError
from cntbench.results.selection import CELL
from cntbench.results.storage import file_name, make_folder, write_atomically

Cell = TypeVar("Cell")

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_ATTRIBUTES = {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#09;"}


def measured(dataset: xr.Dataset) -> NDArray[np.bool_]:
    """Return whether each cell has numbers, dims as ``status``; duplicates have them too."""
    return np.asarray(dataset["status"].isin(["ok", "duplicate"]).values)


def check_single(tree: xr.DataTree, path: Path, what: str, name: str) -> None:
    """Raise a `CntbenchError` unless a result has one task, ablation and checkpoint.

    ``what`` is one file of the format with that name.
    """
    root = tree.to_dataset(inherit=False)
    several = [dim for dim in CELL if root.sizes[dim] > 1]
    if several:
        count = np.prod([root.sizes[dim] for dim in several])
        raise CntbenchError(
            f"a {what} holds one graph, but the selection has {count}",
            where=str(path),
            hint=f"Choose one by {', '.join(f'--{dim}' for dim in several)}; or name a folder, "
            f"with --format {name}.",
        )


def measured_cells(
    tree: xr.DataTree, folder: Path, suffix: str
) -> Iterator[tuple[Path, dict[str, int]]]:
    """Yield the file of every measured graph, and the indices of the graph.

    The files are ``TASK/ABLATION/CHECKPOINT`` and the suffix.
    """
    root = tree.to_dataset(inherit=False)
    for indices in np.argwhere(measured(root)):
        cell = {str(dim): int(i) for dim, i in zip(root["status"].dims, indices, strict=True)}
        task, ablation, checkpoint = (
            file_name(str(root[dim].values[i])) for dim, i in cell.items()
        )
        yield folder / task / ablation / f"{checkpoint}{suffix}", cell


def write_cells(
    cells: Iterable[tuple[Path, Cell]], write: Callable[[Cell, Path], None]
) -> list[Path]:
    """Write the file of every cell, such as those of `measured_cells`, and return the files."""
    written = []
    for path, cell in cells:
        make_folder(path.parent)
        write(cell, path)
        written.append(path)
    return written


def write_xml(path: Path, write: Callable[[Path], None]) -> None:
    """Write an XML file atomically.

    Raises
    ------
    StorageError
        If it cannot be written, or a label has characters that XML does not allow.
    """

    def checked(unfinished: Path) -> None:
        write(unfinished)
        ElementTree.parse(unfinished)

    try:
        write_atomically(path, checked)
    except ElementTree.ParseError as error:
        raise StorageError(
            f"a label of the result is not allowed in XML: {error}", where=str(path)
        ) from None


def xml_text(text: str, where: str) -> str:
    """Return text escaped for an XML attribute.

    Raises
    ------
    StorageError
        If it has characters that XML does not allow.
    """
    if _NOT_XML.search(text):
        raise StorageError(f"a label of the result is not allowed in XML: {text!r}", where=where)
    return escape(text, _IN_ATTRIBUTES)
