"""Checks of output files before work begins, so that no existing file is lost.

An output must not exist or be a regular file, possibly through symbolic links, and must not be an
input. An existing file has to be of the kind to be written, unless the user forces it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cntbench.errors import CntbenchError, StorageError, shown
from cntbench.files.trailer import is_intact

#: Number of bytes that are read to recognise a file's kind.
_HEAD = 4096
_FORCE = "Name another file, or overwrite this one with --force (in Python, force=True)."


@dataclass(frozen=True)
class FileKind:
    """A kind of files that cntbench writes.

    Parameters
    ----------
    name
        Its name, with an article.
    recognises
        Returns whether a file is of the kind; it may raise any error for a file that is not.
    """

    name: str
    recognises: Callable[[Path], bool]


#: One folder or file, or several.
Folders = str | Path | Sequence[str | Path]


def user_path(path: str | Path) -> Path:
    """Return a path with the home folder for ``~``, which shells leave in ``--output=~/runs``."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - as a Path, ./~ is ~


def path_tuple(paths: Folders) -> tuple[Path, ...]:
    """Return one or several paths as a tuple."""
    several = [paths] if isinstance(paths, str | Path) else paths
    listed = isinstance(several, Iterable) and not hasattr(paths, "shape")
    if not listed or not all(isinstance(p, str | Path) and p != "" for p in several):
        raise CntbenchError(
            f"{shown(paths)} is not a path", hint="Give one path, or a list of paths."
        )
    return tuple(map(user_path, several))


def check_output(
    path: Path, kind: FileKind, *, inputs: Iterable[Path] = (), force: bool = False
) -> None:
    """Check that a file may be written.

    Raises a `StorageError` if the path names no file, its folder does not exist or cannot be
    written, or `check_files` refuses it.

    Parameters
    ----------
    inputs
        Files and folders that are read; their files are never overwritten.
    force
        Whether a file of another kind may be overwritten.
    """
    if not path.name:
        where = None if path == Path() else str(path)  # Python turns an empty path into "."
        raise StorageError("no file is named", where=where, hint="Name a file to write.")
    check_files([path], kind, inputs=inputs, force=force)
    folder = path.resolve().parent
    if file_status(path) is None and not is_folder(folder):
        raise StorageError(
            f"cannot be written: there is no folder {path.parent}",
            where=str(path),
            hint="Create the folder, or name a file in another one.",
        )
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raise a `StorageError` unless files can be made in the folder of a file, before it is."""
    if not os.access(path.resolve().parent, os.W_OK):
        raise StorageError(
            f"cannot be written: no file can be made in the folder {path.parent}",
            where=str(path),
            hint="Name a file in another folder.",
        )


def check_files(
    paths: Iterable[Path], kind: FileKind, *, inputs: Iterable[Path] = (), force: bool = False
) -> None:
    """Check that several files may be written; their folders need not exist.

    Parameters are those of `check_output`. Raises a `StorageError` if a file is an input or in an
    input folder, is not a regular file, or exists and is of another kind, unless that is forced.
    """
    statuses = {path: status for path in paths if (status := file_status(path)) is not None}
    read = list(_files(inputs)) if statuses else []
    for path, status in statuses.items():
        if any(os.path.samestat(status, other) for other in read):
            raise StorageError(
                "is an input and would be lost", where=str(path), hint="Name another file to write."
            )
        check_regular(path)
        if status.st_size and not force and not _recognised(path, kind):
            raise StorageError(
                f"exists already and is not {kind.name}", where=str(path), hint=_FORCE
            )


def check_folder(path: Path) -> None:
    """Raise a `StorageError` if a path exists and is not a folder."""
    if file_status(path) is not None and not is_folder(path):
        raise StorageError("is not a folder", where=str(path), hint="Name a folder to write into.")


def check_regular(path: Path) -> None:
    """Raise a `StorageError` if a path is a folder, a device, a pipe or a socket."""
    status = file_status(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a pipe or a socket"
        raise StorageError(
            f"is {kind}: only regular files can be written",
            where=str(path),
            hint="Name a file to write.",
        )


def file_status(path: Path) -> os.stat_result | None:
    """Return the status of a file, following links, or None if it does not exist.

    Raises a `StorageError` if the status is not available: a parent folder is not readable, or the
    name is too long.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot be accessed: {getattr(error, 'strerror', None) or error}", where=str(path)
        ) from None


def file_exists(name: str) -> bool:
    """Return whether a text, which may be anything, is the path of an existing file."""
    return os.path.isfile(user_path(name))  # noqa: PTH113 - the text may be too long for a name


def folder_exists(name: str) -> bool:
    """Return whether a text, which may be anything, is the path of an existing folder."""
    # The text may be too long for a name.
    return bool(name) and os.path.isdir(user_path(name))  # noqa: PTH112


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, following links; raises as `file_status` does."""
    status = file_status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the sorted paths of a pattern without hidden ones, which editors and systems leave."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def begins(*starts: bytes) -> Callable[[Path], bool]:
    """Return a function that recognises files by their first bytes."""
    return lambda path: head(path).startswith(starts)


def contains(text: bytes) -> Callable[[Path], bool]:
    """Return a function that recognises files by bytes near their beginning."""
    return lambda path: text in head(path)


def has_attribute(name: str, *values: str) -> Callable[[Path], bool]:
    """Return a function that recognises netCDF files by an attribute and its possible values."""

    def recognises(path: Path) -> bool:
        import netCDF4

        if not head(path).startswith((b"\x89HDF", b"CDF")) or not is_intact(path):
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
    except Exception:  # any reader may fail on an unknown file
        return False


def _files(paths: Iterable[Path]) -> Iterator[os.stat_result]:
    """Yield the status of all regular files among paths and in folders."""
    for path in paths:
        members = path.rglob("*") if is_folder(path) else ()
        for file in (path, *members):
            status = file_status(file)
            if status is not None and stat.S_ISREG(status.st_mode):
                yield status
