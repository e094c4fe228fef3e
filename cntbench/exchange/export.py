"""Export of a result to files of other programs, and what their formats share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.errors import CntbenchError, PluginError
from cntbench.files.output import check_files, check_folder, check_output, is_folder
from cntbench.plugins import find, room
from cntbench.results.selection import CELL, indices_of, labels_of
from cntbench.results.storage import file_name, make_folder

Cell = TypeVar("Cell")


def export(
    tree: xr.DataTree,
    path: Path,
    name: str | None,
    *,
    inputs: Iterable[Path] = (),
    force: bool = False,
) -> list[Path]:
    """Write a result, or a part of one, in another format.

    Parameters
    ----------
    path
        A file if its suffix is one of the format's, otherwise a folder.
    name
        Name of the format; by default, the suffix of the file selects it.
    inputs
        Files that must not be overwritten, such as the result's own file.
    force
        Whether files of another kind may be overwritten.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    CntbenchError
        If the format is unclear, nothing was measured, the selection does not fit into a file, or
        a file cannot be written.
    """
    formats = room("export format")
    suffixes = {n: plugin.module.SUFFIXES for n, plugin in formats.items()}
    of_suffix = next((n for n, endings in suffixes.items() if path.name.endswith(endings)), None)
    if name is None and of_suffix is None:
        for error in formats.broken.values():
            what = (
                f"has no suffix of a known format, and one is broken: {error.where}: {error.what}"
            )
            raise PluginError(what, where=str(path), hint=error.hint)
        raise CntbenchError(
            "has no suffix of a known format",
            where=str(path),
            hint="Name a file that ends in "
            f"{', '.join(suffix for endings in suffixes.values() for suffix in endings)}, or "
            "a folder and a --format.",
        )
    if name is not None and of_suffix not in (None, name):
        raise CntbenchError(
            f"is the name of a {of_suffix} file, but --format is {name}",
            where=str(path),
            hint="Leave out --format, or name another file.",
        )
    if not measured(tree.to_dataset(inherit=False)).any():
        raise CntbenchError("the selection has no measurements", hint="cntbench audit says why.")
    writer = find("export format", str(name or of_suffix))
    if of_suffix is None or is_folder(path):
        check_folder(path)
        check_files(writer.files(tree, path), writer.KIND, inputs=inputs, force=force)
        return list(writer.write_folder(tree, path))
    check_output(path, writer.KIND, inputs=inputs, force=force)
    writer.write_file(tree, path)
    return [path]


def chosen(tree: xr.DataTree, names: Mapping[str, Sequence[str] | None]) -> xr.DataTree:
    """Select tasks, ablations and checkpoints of a result, in all of its groups.

    Parameters
    ----------
    names
        Labels to keep, by dim; None keeps all.

    Raises
    ------
    CntbenchError
        If a label does not exist (it names the nearest one) or occurs twice, or there is none.
    """
    root = tree.to_dataset(inherit=False)
    for dim, labels in names.items():
        if labels is not None and not len(labels):
            allowed = ", ".join(labels_of(root, dim))
            raise CntbenchError(f"no {dim} is named", hint=f"Allowed: {allowed}.")
    indices = {
        dim: sorted(indices_of(root, dim, labels))
        for dim, labels in names.items()
        if labels is not None
    }
    if not indices:
        return tree
    groups = {
        node.path: node.to_dataset(inherit=False).isel(indices, missing_dims="ignore")
        for node in tree.subtree
    }
    return xr.DataTree.from_dict(groups)


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
