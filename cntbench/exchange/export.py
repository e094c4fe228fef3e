"""From a result to files of another program, in the format that a name says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol, cast

import xarray as xr

from cntbench.errors import CntbenchError, Named, unknown
from cntbench.exchange.writing import measured
from cntbench.output import FileKind, check_files, check_folder, check_output, is_folder
from cntbench.plugins import room


class Format(Protocol):
    """A way to write results: a file of `cntbench.exchange.formats`."""

    SUFFIXES: tuple[str, ...]
    KIND: FileKind

    def write_file(self, tree: xr.DataTree, path: Path) -> None:
        """Write what one file holds."""
        ...

    def files(self, tree: xr.DataTree, folder: Path) -> Iterator[Path]:
        """Yield the files that `write_folder` may write."""
        ...

    def write_folder(self, tree: xr.DataTree, folder: Path) -> list[Path]:
        """Write all there is; returns the files."""
        ...


def formats() -> Named[Format]:
    """Return the formats, by their names."""
    files = room("export format")
    return Named({n: cast(Format, file.module) for n, file in files.items()}, files.broken)


def export(
    tree: xr.DataTree,
    path: Path,
    asked: str | None,
    *,
    inputs: Iterable[Path] = (),
    force: bool = False,
) -> list[Path]:
    """Write a result, or a part of one, in another format.

    Parameters
    ----------
    tree
        What to write.
    path
        A file if its name ends as files of the format do; else a folder.
    asked
        The format; if it is None, the file's name tells it.
    inputs
        Files that are not written over, such as the one that the result comes from.
    force
        Whether files of another kind may be written over.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    CntbenchError
        If the format is not clear, nothing was measured, a file cannot hold all, or it cannot be
        written.
    """
    known = formats()
    told = next((n for n, f in known.items() if path.name.endswith(f.SUFFIXES)), None)
    if asked is None and told is None:
        raise CntbenchError(
            "does not tell the format",
            where=str(path),
            hint="Name a file that ends in "
            f"{', '.join(suffix for file in known.values() for suffix in file.SUFFIXES)}; or a "
            "folder, with --format.",
        )
    if asked is not None and told not in (None, asked):
        raise CntbenchError(
            f"is the name of a {told} file, and --format says {asked}", where=str(path)
        )
    if not measured(tree.to_dataset(inherit=False)).any():
        raise CntbenchError(
            "nothing that is to be exported was measured", hint="cntbench audit says why."
        )
    name = str(asked or told)
    if name not in known:
        raise unknown("format", name, known)
    chosen = known[name]
    if told is None or is_folder(path):
        check_folder(path)
        check_files(chosen.files(tree, path), chosen.KIND, inputs=inputs, force=force)
        return chosen.write_folder(tree, path)
    check_output(path, chosen.KIND, inputs=inputs, force=force)
    chosen.write_file(tree, path)
    return [path]
