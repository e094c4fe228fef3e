"""What writers share: which cells have numbers, and XML that is well-formed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.errors import StorageError
from cntbench.results.storage import write_atomically

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_ATTRIBUTES = {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#09;"}


def measured(dataset: xr.Dataset) -> NDArray[np.bool_]:
    """Return which cells have numbers, dims as ``status``; duplicates of others have them too."""
    return np.asarray(dataset["status"].isin(["ok", "duplicate"]).values)


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


def xml_text(text: str, where: str) -> str:
    """Return text as it stands in an attribute of XML.

    Raises
    ------
    StorageError
        If it holds characters that XML does not allow.
    """
    if _NOT_XML.search(text):
        raise StorageError(f"a label of the result cannot stand in XML: {text!r}", where=where)
    return escape(text, _IN_ATTRIBUTES)
