"""Where is written: outputs are checked before work begins, so that nothing that is there is lost.

An output is a regular file or absent, through symbolic links; it is none of the inputs; and if it
is there already, it is of the kind that is written, or the user forces it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cntbench.errors import StorageError

#: How much of a file is read to tell its kind [bytes].
_HEAD = 4096
_FORCE = "Name another file, or write over this one by --force (in Python, force=True)."


@dataclass(frozen=True)
class FileKind:
    """A kind of files that cntbench writes.

    Parameters
    ----------
    name
        What it is, with its article.
    recognises
        Whether a file is of the kind, told from its beginning or its attributes; it may raise any
        error by a file that is not.
    """

    name: str
    recognises: Callable[[Path], bool]


def check_output(
    path: Path, kind: FileKind, *, inputs: Iterable[Path] = (), force: bool = False
) -> None:
    """Raise an error if a file may not be written.

    Parameters
    ----------
    path
        The file.
    kind
        What will be in it.
    inputs
        Files and folders that are read; none of their files is written over, forced or not.
    force
        Whether a file of another kind may be written over.

    Raises
    ------
    StorageError
        If the path names no file, its folder is not there, or `check_files` refuses it.
    """
    if not path.name:
        raise StorageError("names no file", where=f"'{path}'", hint="Name a file to write.")
    check_files([path], kind, inputs=inputs, force=force)
    if file_status(path) is None and not is_folder(path.resolve().parent):
        raise StorageError(
            f"cannot be written: there is no folder {path.parent}",
            where=str(path),
            hint="Make the folder, or name a file in another one.",
        )


def check_files(
    paths: Iterable[Path], kind: FileKind, *, inputs: Iterable[Path] = (), force: bool = False
) -> None:
    """Raise an error if one of several files may not be written; their folders need not be there.

    Parameters are those of `check_output`.

    Raises
    ------
    StorageError
        If a file is an input, or lies in a folder that is one; is not a regular file; or is there
        already and of another kind, unless that is forced.
    """
    status = {path: there for path in paths if (there := file_status(path)) is not None}
    read = list(_files(inputs)) if status else []
    for path, there in status.items():
        if any(os.path.samestat(there, other) for other in read):
            raise StorageError(
                "is an input, and would be lost",
                where=str(path),
                hint="Name another file to write.",
            )
        check_regular(path)
        if there.st_size and not force and not _recognised(path, kind):
            raise StorageError(
                f"is there already, and is not {kind.name}", where=str(path), hint=_FORCE
            )


def check_folder(path: Path) -> None:
    """Raise an error if files cannot be written into a folder, since something else has its name.

    Raises
    ------
    StorageError
        If it is there and is no folder.
    """
    if file_status(path) is not None and not is_folder(path):
        raise StorageError("is not a folder", where=str(path), hint="Name a folder to write into.")


def check_regular(path: Path) -> None:
    """Raise an error if a path is there and is no regular file: a folder, a device, a pipe.

    Raises
    ------
    StorageError
        If it is.
    """
    there = file_status(path)
    if there is not None and not stat.S_ISREG(there.st_mode):
        what = "a folder" if stat.S_ISDIR(there.st_mode) else "a device, a pipe or a socket"
        raise StorageError(
            f"is {what}: only regular files are written",
            where=str(path),
            hint="Name a file to write.",
        )


def file_status(path: Path) -> os.stat_result | None:
    """Return what the system knows of a file, through links; None if there is none.

    Raises
    ------
    StorageError
        If it cannot tell: a folder on the way may not be read, or the name is too long.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot be looked at: {getattr(error, 'strerror', None) or error}", where=str(path)
        ) from None


def is_folder(path: Path) -> bool:
    """Say whether a path is a folder, through links; raises as `file_status` does."""
    there = file_status(path)
    return there is not None and stat.S_ISDIR(there.st_mode)


def begins(*starts: bytes) -> Callable[[Path], bool]:
    """Return what recognises files by how they begin."""
    return lambda path: head(path).startswith(starts)


def contains(text: bytes) -> Callable[[Path], bool]:
    """Return what recognises files by what stands near their beginning."""
    return lambda path: text in head(path)


def has_attribute(name: str, *values: str) -> Callable[[Path], bool]:
    """Return what recognises netCDF files by an attribute, of one of some values or of any."""

    def recognises(path: Path) -> bool:
        import netCDF4

        if not head(path).startswith((b"\x89HDF", b"CDF")):
            return False
        with netCDF4.Dataset(path) as file:
            return name in file.ncattrs() and (not values or file.getncattr(name) in values)

    return recognises


def head(path: Path) -> bytes:
    """Return the beginning of a file."""
    with path.open("rb") as file:
        return file.read(_HEAD)


def _recognised(path: Path, kind: FileKind) -> bool:
    try:
        return kind.recognises(path)
    except Exception:  # a stranger's file can make any reader fail
        return False


def _files(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    """Yield what the system knows of files, and of all files in folders."""
    for path in paths:
        inside = path.rglob("*") if is_folder(path) else ()
        for each in (path, *inside):
            there = file_status(each)
            if there is not None and stat.S_ISREG(there.st_mode):
                yield there
