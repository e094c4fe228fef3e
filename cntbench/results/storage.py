"""Result files: netCDF written atomically, with a checksum of their content inside.

The checksum is the SHA-256 of every group, variable and attribute, not of the file's bytes, so that
it says whether two results are the same whatever library wrote them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import xarray as xr

from cntbench.errors import CntbenchError, CntbenchWarning, StorageError, nearest
from cntbench.interrupts import interrupts_held
from cntbench.output import FileKind, check_regular, file_status, has_attribute, is_folder
from cntbench.results.file_sizes import check_size
from cntbench.results.schema import validate

CHECKSUM = "content_sha256"
#: What `write_results` writes.
RESULT = FileKind("a result of cntbench", has_attribute(CHECKSUM))

#: Attribute of a result that stood in a file without a checksum, and what it says.
UNSEALED = "unsealed"
_UNSEALED = "has no checksum, so that later changes or damage could not be seen"
_AGAIN = "Run the study again into its folder: whole checkpoint files are kept."

#: How names of files end that are being written.
UNFINISHED = ".tmp"
#: How much of the final name they keep, so that they are never too long.
_KEPT = 40
#: Free space below which a write that failed has failed for want of it [bytes].
_FULL = 2**20


def write_results(tree: xr.DataTree, path: Path) -> None:
    """Validate a result and write it: the file appears whole, or not at all.

    Parameters
    ----------
    tree
        The film at the root, derived results in groups.
    path
        Where to. What was there is replaced.

    Raises
    ------
    StorageError
        If the result does not satisfy the schema, or the file cannot be written.
    """
    tree = tree.copy()
    tree.attrs.pop(CHECKSUM, None)  # of the file that xarray has opened it from
    groups = _groups(tree)
    root = groups["/"]
    validate(root, where=str(path))
    for name, group in groups.items():
        if name != "/":
            _validate_group(name, group, root, f"{path}: group {name[1:]!r}")
    sealed = tree.copy()
    sealed.attrs = {**tree.attrs, CHECKSUM: _checksum(groups)}

    def write(unfinished: Path) -> None:
        encoding = {group.path: _encoding(group) for group in sealed.subtree}
        sealed.to_netcdf(unfinished, engine="netcdf4", encoding=encoding)

    with interrupts_held():  # xarray, interrupted, waits for its own locks
        write_atomically(path, write)


def open_results(path: Path) -> xr.DataTree:
    """Read a result into memory, checking that it is whole and satisfies the schema.

    What xarray has written, without a checksum, is read too, if it satisfies the schema: with a
    warning, and marked by the attribute ``unsealed``. Groups that follow from the film and do not
    satisfy theirs are left out, with a warning.

    Raises
    ------
    StorageError
        If the file is missing, truncated or damaged, was not written by cntbench, or does not
        satisfy the schema.
    """
    where = str(path)
    groups, sealed = _read(path)
    root = groups.pop("/")
    try:
        validate(root, where=where)
    except StorageError as error:
        if sealed:
            raise
        raise StorageError(
            f"has no checksum, so it was not written by cntbench, and {error.what}",
            where=where,
            hint=error.hint,
        ) from None
    if not sealed:
        root.attrs.setdefault(UNSEALED, _UNSEALED)
        _warn(f"{where}: {_UNSEALED}.")
    return xr.DataTree.from_dict({"/": root, **dict(_fitting(groups, root, where))})


def open_sealed(path: Path) -> xr.DataTree:
    """Read a result that `write_results` has written, all of it, or none.

    Raises
    ------
    StorageError
        As of `open_results`; also if it has no checksum.
    """
    where = str(path)
    groups, sealed = _read(path)
    if not sealed:
        raise StorageError("has no checksum, so it was not written by cntbench", where=where)
    validate(groups["/"], where=where)
    for name, group in groups.items():
        if name != "/":
            _validate_group(name, group, groups["/"], f"{where}: group {name[1:]!r}")
    return xr.DataTree.from_dict(groups)


def _read(path: Path) -> tuple[dict[str, xr.Dataset], bool]:
    """Return what a file holds, by group, and whether a checksum says that it is whole.

    Raises
    ------
    StorageError
        If it is missing, cannot be read, or does not fit its checksum.
    """
    where = str(path)
    if is_folder(path):
        raise StorageError(
            "is a folder", where=where, hint=f"Name the file in it: {path / 'results.nc'}"
        )
    if file_status(path) is None:
        raise StorageError("no such file", where=where, hint=_similar(path))
    check_regular(path)
    with interrupts_held():
        groups = load_netcdf(path, hint=_AGAIN)
    recorded = groups["/"].attrs.pop(CHECKSUM, None)
    if recorded is not None and recorded != _checksum(groups):
        raise StorageError(
            "the content does not fit its checksum: the file was changed or damaged",
            where=where,
            hint=f"{_AGAIN} If you have changed it on purpose, remove the attribute {CHECKSUM!r}.",
        )
    return groups, recorded is not None


def load_netcdf(path: Path, *, hint: str) -> dict[str, xr.Dataset]:
    """Read a netCDF file into memory, by group, after a look at what it declares.

    Raises
    ------
    StorageError
        If it cannot be read, with the hint, or declares more than it can hold.
    """
    try:
        check_size(path)
        opened = xr.open_groups(path, engine="netcdf4")
        try:
            # What the file says of its encoding, such as the longest label, does not fit what
            # others make of the data.
            return {name: group.load().drop_encoding() for name, group in opened.items()}
        finally:
            for group in opened.values():
                group.close()
    except StorageError:
        raise
    except Exception as error:  # whatever a stranger's file makes the libraries say
        raise StorageError(
            f"is truncated, damaged or not a netCDF file: {str(error)[:200]}",
            where=str(path),
            hint=hint,
        ) from None


def _fitting(
    groups: Mapping[str, xr.Dataset], root: xr.Dataset, where: str
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the groups that satisfy their tables, and warn of the others."""
    left_out: list[str] = []
    for name, group in groups.items():
        if any(name.startswith(f"{above}/") for above in left_out):
            continue
        try:
            _validate_group(name, group, root, where)
        except StorageError as error:
            left_out.append(name)
            _warn(f"{where}: group {name[1:]!r} is left out: {error.what}.")
        else:
            yield name, group


def _validate_group(name: str, group: xr.Dataset, root: xr.Dataset, where: str) -> None:
    from cntbench.results.group_schema import validate_group  # the tables need more than films do

    validate_group(name[1:], group, root, where=where)
    try:
        xr.DataTree.from_dict({"/": root, name: group})
    except (ValueError, KeyError) as error:
        raise StorageError(f"has no place in the result: {error}", where=where) from None


def _warn(what: str) -> None:
    warnings.warn(what, CntbenchWarning, stacklevel=4)


def _groups(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    return {group.path: group.to_dataset(inherit=False) for group in tree.subtree}


def distinct_files(paths: Sequence[Path]) -> Sequence[Path]:
    """Return files or folders; an error if one is named twice, which would count it twice."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise CntbenchError("stands twice", where=str(path), hint="Name each one once.")
        seen.add(path.resolve())
    return paths


def content_checksum(tree: xr.DataTree) -> str:
    """Return the SHA-256 over all groups, variables and attributes."""
    return _checksum(_groups(tree))


def _checksum(groups: Mapping[str, xr.Dataset]) -> str:
    digest = hashlib.sha256()

    def say(*parts: object) -> None:
        digest.update(json.dumps([str(part) for part in parts]).encode())

    for path, dataset in sorted(groups.items()):
        say("group", path, _canonical(dataset.attrs))
        for name, variable in sorted(dataset.variables.items(), key=lambda item: str(item[0])):
            values = variable.values
            say(name, variable.dims, variable.shape, _canonical(variable.attrs))
            if values.dtype.kind in "fiu":
                say(values.dtype)
                digest.update(np.ascontiguousarray(values).tobytes())
            else:
                say(*values.flat)
    return digest.hexdigest()


def file_name(label: str) -> str:
    """Return a label of a dataset as part of a file's name: the same one for no other label.

    Examples
    --------
    >>> file_name("induction"), file_name("../v1.5")
    ('induction', '%2E%2E%2Fv1%2E5')
    """
    return quote(label, safe="").replace(".", "%2E")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there.

    Raises
    ------
    StorageError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot be made a folder: {reason(error)}",
            where=str(path),
            hint="Choose another output folder.",
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""

    def write(unfinished: Path) -> None:
        unfinished.write_text(text, encoding="utf-8")

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside the final place and move there at the end, so that no half file is ever seen.

    A symbolic link stays one: what it points to is written. A file that was there leaves its mode
    to the new one.

    Raises
    ------
    StorageError
        If the path is there and no regular file, the folder cannot be written, or the disk is full.
    """
    check_regular(path)
    final = path.resolve()
    unfinished = final.with_name(f".{final.name[:_KEPT]}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        if final.is_file():
            shutil.copymode(final, unfinished)
        unfinished.replace(final)
    except (OSError, RuntimeError) as error:  # HDF5 says the latter, whatever was in its way
        raise StorageError(
            f"cannot be written: {_obstacle(final.parent, error)}",
            where=str(path),
            hint="Choose another output folder, or make room. What is whole is kept: the same "
            "command goes on from there.",
        ) from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """Return why a folder could not be made, in the system's words unless they mislead."""
    if error.errno == errno.ENOENT:  # those above it are made too, so none of them is missing
        return "nothing new can be made there"
    return error.strerror or str(error)


def _obstacle(folder: Path, error: Exception) -> str:
    """Return why a file could not be written; libraries hide that there is no folder, or no room.

    So an empty file is tried.
    """
    if not folder.is_dir():
        return f"there is no folder {folder}"
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as refusal:
        return reason(refusal)
    with suppress(OSError):
        if shutil.disk_usage(folder).free < _FULL:
            return os.strerror(errno.ENOSPC)
    return getattr(error, "strerror", None) or str(error)


def _canonical(attributes: dict[Any, Any]) -> str:
    plain = {
        str(key): value.item() if isinstance(value, np.generic) else value
        for key, value in attributes.items()
    }
    return json.dumps(plain, sort_keys=True, default=str)


def _encoding(group: xr.DataTree) -> dict[str, dict[str, Any]]:
    dataset = group.to_dataset(inherit=False)
    return {
        str(name): {"zlib": True, "complevel": 4, "shuffle": True}
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind == "f" and variable.ndim
    }


def _similar(path: Path) -> str | None:
    if not is_folder(path.parent):
        return f"There is no folder {path.parent} either."
    names = [other.name for other in path.parent.glob("*.nc")]
    return nearest(path.name, names) if names else None
