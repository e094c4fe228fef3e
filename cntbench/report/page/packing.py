"""Arrays as text that a browser unpacks by itself: rounded, shuffled, deflated, in base64.

The bytes of float32 numbers are put in order of their significance (all first bytes, all second
ones, …), as netCDF's shuffle filter does, because neighbours share the higher ones. ``unpack.js``
undoes it by `DecompressionStream`, which needs neither network nor server.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import ArrayLike

#: Bits of the mantissa that numbers keep: a relative error of at most 2^-13, three digits.
BITS = 12
#: Bits that float32 has.
ALL_BITS = 23


def pack(values: ArrayLike, *, bits: int = BITS) -> str:
    """Return an array of any dims as text; the last dim is the one in which neighbours are alike.

    Parameters
    ----------
    values
        Finite numbers or NaN; integers up to 2^24 if ``bits`` is 23.
    bits
        Bits of the mantissa that are kept, 1 to 23.
    """
    whole = np.ascontiguousarray(values, dtype="<f4").view("<u4").ravel()
    dropped = ALL_BITS - bits
    if dropped:
        half, mask = np.uint32(1 << (dropped - 1)), np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
        whole = (whole + half) & mask
    planes = whole.astype("<u4").view(np.uint8).reshape(-1, 4).T
    return _text(planes.tobytes())


def pack_text(text: str) -> str:
    """Return a text, deflated, in base64."""
    return _text(text.encode())


def _text(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")
