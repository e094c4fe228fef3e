"""Result files: netCDF, written atomically and with a checksum of their content.

The checksum is the SHA-256 of all groups, variables and attributes, not of the file's bytes: equal
results have equal checksums, whatever library wrote them.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import xarray as xr

from cntbench.errors import CntbenchError, StorageError, nearest, warn
from cntbench.files import output
from cntbench.files.trailer import append_digest, is_intact
from cntbench.parallel.interrupts import interrupts_held
from cntbench.results.checking import valid_tree, validate_groups, validated_tree
from cntbench.results.group_schema import GROUPS, validate_contents
from cntbench.results.netcdf import read_groups, write_groups
from cntbench.results.schema import validate
from cntbench.results.selection import whole_groups
from cntbench.results.tree import checksum, groups_of

CHECKSUM = "content_sha256"

#: Attribute of a result that was read from a file without a checksum, and its value.
UNSEALED = "unsealed"
_UNSEALED = "has no checksum, so that later changes or damage could not be seen"
#: An unused dimension of files that cntbench has written. xarray copies attributes, and so the
#: checksum, of what is selected from a file, but no dimension that has no variable.
_OWN = "written_by_cntbench"
_A_RESULT = "Name a file that cntbench has written, such as results.nc."
_AGAIN = "Run the study again into its folder: finished checkpoint files are kept."

#: Ending of the names of unfinished files.
UNFINISHED = ".tmp"
#: How many characters of the final name they keep, so that they are never too long.
_KEPT = 40
#: A failed write is put down to a full disk below this much free space [bytes].
_FULL = 2**20


def _is_result(path: Path) -> bool:
    """Return whether a netCDF file is a result of `write_results`."""
    import netCDF4

    if not output.has_attribute(CHECKSUM)(path):
        return False
    with netCDF4.Dataset(path) as file:
        return "status" in file.variables


#: What `write_results` writes.
RESULT = output.FileKind("a result of cntbench", _is_result)


def write_results(tree: xr.DataTree, path: Path) -> None:
    """Validate a result, the film at the root and groups below it, and write it.

    A file at the path is replaced. The new file appears complete or not at all. Raises a
    `StorageError` if the result does not satisfy the schema, or the file cannot be written.
    """
    groups = groups_of(tree)
    validate_groups(groups, str(path), fits=True)
    write_netcdf(groups, path)


def write_netcdf(groups: Mapping[str, xr.Dataset], path: Path) -> None:
    """Write groups, with ``/`` among them, as netCDF with a checksum: complete or not at all."""
    root = groups["/"].copy()
    root.attrs.pop(CHECKSUM, None)  # of the file that xarray has opened it from
    content = {**groups, "/": root}
    sealed = root.assign_attrs({CHECKSUM: checksum(content)})

    def write(file: Path) -> None:
        write_groups({**content, "/": sealed}, file, mark=_OWN)
        append_digest(file)

    with interrupts_held():  # an interrupted xarray waits for its own locks
        write_atomically(path, write)


def write_dataset(
    dataset: xr.Dataset, path: Path, kind: output.FileKind, *, schema: str = "", force: bool = False
) -> None:
    """Write a dataset that is not a result, such as a comparison: complete or not at all.

    An existing file of the same kind is replaced; one of another kind only with ``force``.
    ``schema`` names the group whose schema the dataset must satisfy. Raises a `StorageError` if the
    file is of another kind or cannot be written, or the dataset violates the schema.
    """
    output.check_output(path, kind, force=force)
    if schema:
        validate_contents(GROUPS[schema], dataset, where=str(path))
    write_netcdf({"/": dataset}, path)


def open_results(path: Path) -> xr.DataTree:
    """Read a result into memory and check its checksum and schema.

    A file that xarray has written, such as a selection, is read with a warning if it satisfies the
    schema once selected dims are put back, and marked with the attribute ``unsealed``. Derived
    groups that do not satisfy their schema are left out with a warning. Raises a `StorageError` if
    the file is missing, damaged, not written by cntbench, or violates the schema.
    """
    where = str(path)
    groups, sealed = read_netcdf(path, foreign=True)
    if not sealed:
        groups = whole_groups(groups)
    root = groups["/"]
    if sealed and "status" not in root:  # a comparison, for instance
        title = str(root.attrs.get("title", ""))[:60]
        raise StorageError(
            f"is not the result of a run: its title is {title!r}",
            where=where,
            hint="xarray.open_dataset reads it.",
        )
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
        warn(f"{where}: {_UNSEALED}. `cntbench seal` gives it one.")
    return valid_tree(groups, where)


def open_sealed(path: Path, *, hint: str = _AGAIN) -> xr.DataTree:
    """Read a result that `write_results` has written, with all of its groups.

    ``hint`` says what to do about a damaged one. Errors are those of `open_results`; a file without
    a checksum, or with a group that violates its schema, is one, too.
    """
    groups, sealed = read_netcdf(path, hint=hint)
    if not sealed:
        raise StorageError(
            "has no checksum, so it was not written by cntbench", where=str(path), hint=hint
        )
    return validated_tree(groups, str(path))


def read_netcdf(
    path: Path, *, hint: str = _AGAIN, foreign: bool = False
) -> tuple[dict[str, xr.Dataset], bool]:
    """Return the groups of a file, and whether it has a checksum, which then is correct.

    Raises a `StorageError` if the file is missing, cannot be read, or does not match its checksum.

    Parameters
    ----------
    hint
        What to do about a damaged one.
    foreign
        Whether a checksum is disregarded that xarray has copied from another file.
    """
    where = str(path)
    if output.is_folder(path):
        results_file = path / "results.nc"
        named = f"Name the file in it: {results_file}" if output.file_status(results_file) else hint
        raise StorageError("is a folder", where=where, hint=_A_RESULT if named == _AGAIN else named)
    if output.file_status(path) is None:
        raise StorageError("no such file", where=where, hint=_similar(path))
    output.check_regular(path)
    with interrupts_held():
        groups = load_netcdf(path, hint=hint)
    recorded = groups["/"].attrs.pop(CHECKSUM, None)
    if recorded is not None and recorded != checksum(groups):
        if foreign and not _is_own(path):
            return groups, False
        raise StorageError(
            "the content does not match its checksum: the file was changed or damaged",
            where=where,
            hint=f"{hint} If you changed it on purpose, remove the attribute {CHECKSUM!r}.",
        )
    return groups, recorded is not None


def _is_own(path: Path) -> bool:
    """Return whether cntbench has written a netCDF file, rather than xarray a selection from it."""
    import netCDF4

    with netCDF4.Dataset(path) as file:
        return _OWN in file.dimensions


def load_netcdf(path: Path, *, hint: str) -> dict[str, xr.Dataset]:
    """Read a netCDF file into memory, by group, once its bytes and size have been checked.

    Raises a `StorageError` if the file cannot be read, with the hint, or declares more than it can
    hold.
    """
    try:
        if not is_intact(path):
            what = "is damaged: its bytes do not match the checksum at its end"
            raise StorageError(what, where=str(path), hint=hint)
        return read_groups(path)
    except StorageError:
        raise
    except Exception as error:  # an arbitrary file can make the libraries raise anything
        empty = not path.stat().st_size
        if empty or not _begins_as_netcdf(path):
            raise StorageError(
                "is empty" if empty else "is not a netCDF file",
                where=str(path),
                hint=_A_RESULT if hint == _AGAIN else hint,
            ) from None
        raise StorageError(
            f"is truncated, damaged or not a netCDF file: {str(error)[:200]}",
            where=str(path),
            hint=hint,
        ) from None


def _begins_as_netcdf(path: Path) -> bool:
    """Return whether a file, however short, begins as netCDF; others never were results."""
    start = output.head(path)[:4]
    return any(begin.startswith(start[: len(begin)]) for begin in (b"CDF", b"\x89HDF"))


def distinct_files(paths: Sequence[Path]) -> Sequence[Path]:
    """Return the paths, or raise an error if one is named twice and would count twice."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise CntbenchError("appears twice", where=str(path), hint="Name each path once.")
        seen.add(path.resolve())
    return paths


def file_name(label: str) -> str:
    """Return a label as part of a file name; different labels have different names.

    Examples
    --------
    >>> file_name("induction"), file_name("../v1.5")
    ('induction', '%2E%2E%2Fv1%2E5')
    """
    return quote(label, safe="").replace(".", "%2E")


def make_folder(path: Path) -> None:
    """Make a folder and its parents where missing; raise a `StorageError` if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder cannot be made: {reason(error)}",
            where=str(path),
            hint="Choose another output folder.",
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file and move it into place, so that no partial file is ever visible.

    The target of a symbolic link is replaced, and the mode of an existing file is kept. Raises a
    `StorageError` if the path is not a regular file, the folder cannot be written, or the disk is
    full.
    """
    output.check_regular(path)
    final = path.resolve()
    unfinished = final.with_name(f".{final.name[:_KEPT]}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        if final.is_file():
            shutil.copymode(final, unfinished)
        unfinished.replace(final)
    except (OSError, RuntimeError) as error:  # HDF5 raises RuntimeError for any obstacle
        raise StorageError(
            f"cannot be written: {_obstacle(final.parent, error)}",
            where=str(path),
            hint="Choose another output folder, or make room. Finished files are kept: run the "
            "same command again to continue.",
        ) from None
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def reason(error: OSError) -> str:
    """Return why a folder could not be made, in the system's words unless they mislead."""
    if error.errno == errno.ENOENT:  # its parents are made as well, so none of them is missing
        return "nothing new can be made there"
    return error.strerror or str(error)


def _obstacle(folder: Path, error: Exception) -> str:
    """Return why a file could not be written.

    Libraries hide a missing folder or a full disk, so an empty file is tried.
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


def _similar(path: Path) -> str | None:
    if not output.is_folder(path.parent):
        return f"There is no folder {path.parent} either."
    names = [other.name for other in path.parent.glob("*.nc")]
    return nearest(path.name, names) if names else None
