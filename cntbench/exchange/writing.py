"""Helpers of the writers: the cells that have numbers, and well-formed XML."""

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
    """Return whether each cell has numbers, dims as ``status``; duplicates have them too."""
    return np.asarray(dataset["status"].isin(["ok", "duplicate"]).values)


def write_xml(path: Path, write: Callable[[Path], None]) -> None:
    """Write an XML file atomically.

    Raises
    ------
    StorageError
        If it cannot be written, or a label has characters that XML does not allow.
    """

    def checked(unfinished: Path) -> None:
        write(unfinished)
        ElementTree.parse(unfinished)

    try:
        write_atomically(path, checked)
    except ElementTree.ParseError as error:
        raise StorageError(
            f"a label of the result is not allowed in XML: {error}", where=str(path)
        ) from None


def xml_text(text: str, where: str) -> str:
    """Return text escaped for an XML attribute.

    Raises
    ------
    StorageError
        If it has characters that XML does not allow.
    """
    if _NOT_XML.search(text):
        raise StorageError(f"a label of the result is not allowed in XML: {text!r}", where=where)
    return escape(text, _IN_ATTRIBUTES)
