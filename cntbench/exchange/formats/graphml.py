"""GraphML: one graph of one task by one ablation at one checkpoint, for networkx and others.

Nodes, edges and the graph have the attributes that `cntbench.accessor.cnt.Cnt.graph` lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import numpy as np
import xarray as xr

from cntbench.accessor.cnt import Cnt
from cntbench.errors import CntbenchError
from cntbench.exchange.writing import measured, write_xml
from cntbench.output import FileKind, contains
from cntbench.results.storage import file_name, make_folder

SUFFIXES: tuple[str, ...] = (".graphml",)
KIND = FileKind("a GraphML file", contains(b"<graphml"))


def write_file(tree: xr.DataTree, path: Path) -> None:
    """Write the only graph of a result.

    Raises
    ------
    CntbenchError
        If the result has several graphs, or the graph was not measured.
    """
    root = tree.to_dataset(inherit=False)
    several = [dim for dim in ("task", "ablation", "checkpoint") if root.sizes[dim] > 1]
    if several:
        count = np.prod([root.sizes[dim] for dim in several])
        raise CntbenchError(
            f"a GraphML file holds one graph, but the selection has {count}",
            where=str(path),
            hint=f"Choose one by {', '.join(f'--{dim}' for dim in several)}; or name a folder, "
            "with --format graphml.",
        )
    _write(Cnt(root).graph(), path)


def files(tree: xr.DataTree, folder: Path) -> Iterator[Path]:
    """Yield the files that `write_folder` writes."""
    return (path for path, _ in _cells(tree, folder))


def write_folder(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Write every measured graph: ``TASK/ABLATION/CHECKPOINT.graphml``."""
    root = tree.to_dataset(inherit=False)
    written = []
    for path, cell in _cells(tree, folder):
        make_folder(path.parent)
        _write(Cnt(root.isel(cell)).graph(), path)
        written.append(path)
    return written


def _cells(tree: xr.DataTree, folder: Path) -> Iterator[tuple[Path, dict[str, int]]]:
    """Yield the file of every measured graph, and the indices of the graph."""
    root = tree.to_dataset(inherit=False)
    for indices in np.argwhere(measured(root)):
        cell = {str(dim): int(i) for dim, i in zip(root["status"].dims, indices, strict=True)}
        task, ablation, checkpoint = (
            file_name(str(root[dim].values[i])) for dim, i in cell.items()
        )
        yield folder / task / ablation / f"{checkpoint}.graphml", cell


def _write(graph: nx.DiGraph, path: Path) -> None:
    write_xml(path, lambda file: nx.write_graphml_xml(graph, file, named_key_ids=True))
