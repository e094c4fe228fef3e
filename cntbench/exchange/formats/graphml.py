"""GraphML: one graph of one task by one ablation at one checkpoint, for networkx and others.

Nodes, edges and the graph have the attributes that `cntbench.accessor.cnt.Cnt.graph` lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import networkx as nx
import xarray as xr

from cntbench.accessor.cnt import Cnt
from cntbench.errors import StorageError
from cntbench.exchange.export import check_single, measured_cells, write_cells
from cntbench.files.output import FileKind, contains
from cntbench.results.storage import write_atomically

SUFFIXES: tuple[str, ...] = (".graphml",)
KIND = FileKind("a GraphML file", contains(b"<graphml"))


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the only graph of a result.

    Raises
    ------
    CntbenchError
        If the result has several graphs, or the graph was not measured.
    """
    check_single(tree, path, "GraphML file", "graphml")
    _write(Cnt(tree.to_dataset(inherit=False)).graph(), path)


def files(tree: xr.DataTree, folder: Path) -> Iterator[Path]:
    """Yield the files that `write_folder` writes."""
    return (path for path, _ in measured_cells(tree, folder, *SUFFIXES))


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write every measured graph: ``TASK/ABLATION/CHECKPOINT.graphml``."""
    root = tree.to_dataset(inherit=False)
    return write_cells(
        measured_cells(tree, folder, *SUFFIXES),
        lambda cell, path: _write(Cnt(root.isel(cell)).graph(), path),
    )


def _write(graph: nx.DiGraph, path: Path) -> None:
    """Write a graph atomically, checked: labels may have characters that XML does not allow."""

    def checked(unfinished: Path) -> None:
        nx.write_graphml_xml(graph, unfinished, named_key_ids=True)
        ElementTree.parse(unfinished)

    try:
        write_atomically(path, checked)
    except ElementTree.ParseError as error:
        what = f"a label of the result is not allowed in XML: {error}"
        raise StorageError(what, where=str(path)) from None
