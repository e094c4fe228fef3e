"""Arrays as text that a browser can unpack: rounded, shuffled, deflated, in base64.

The bytes of float32 numbers are ordered by significance (all first bytes, all second bytes, …), as
by netCDF's shuffle filter, because neighbours share their higher bytes. ``unpack.js`` reverses
this with `DecompressionStream`, which needs neither network nor server.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import ArrayLike

#: Bits of the mantissa that are kept: a relative error of at most 2^-13, three digits.
BITS = 12
#: Bits of a float32 mantissa.
ALL_BITS = 23


def pack(values: ArrayLike, *, bits: int = BITS) -> str:
    """Return an array of any shape as text; it is smallest if neighbours in the last dim are alike.

    Parameters
    ----------
    values
        Finite numbers or NaN; integers up to 2^24 if ``bits`` is 23.
    bits
        Bits of the mantissa to keep, 1 to 23.
    """
    words = np.ascontiguousarray(values, dtype="<f4").view("<u4").ravel()
    dropped = ALL_BITS - bits
    if dropped:
        half, mask = np.uint32(1 << (dropped - 1)), np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
        words = (words + half) & mask
    planes = words.astype("<u4").view(np.uint8).reshape(-1, 4).T
    return deflated(planes.tobytes())


def deflated(content: bytes) -> str:
    """Return bytes, deflated, in base64."""
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")
