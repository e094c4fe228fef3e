"""What writers share: folders that appear, and XML that cannot hold every text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from cntbench.errors import StorageError
from cntbench.storage import write_atomically


def make_folder(folder: Path) -> Path:
    """Make a folder unless it is there; returns it.

    Raises
    ------
    StorageError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot be made: {error.strerror}", where=str(folder), hint="Name another one with -o."
        ) from None
    return folder


def write_xml(path: Path, write: Callable[[Path], None]) -> None:
    """Write an XML file, whole or not at all.

    Raises
    ------
    StorageError
        If it cannot be written, or a label holds characters that XML does not allow.
    """

    def checked(unfinished: Path) -> None:
        write(unfinished)
        ElementTree.parse(unfinished)

    try:
        write_atomically(path, checked)
    except ElementTree.ParseError as error:
        raise StorageError(
            f"a label of the result cannot stand in XML: {error}", where=str(path)
        ) from None
