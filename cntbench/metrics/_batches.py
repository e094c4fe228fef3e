"""Many graphs, few at a time: what is worked on stays in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Size of the graphs that are worked on at a time [bytes].
BATCH_BYTES = 2**19


def batched(few: Callable[..., NDArray[Any]], *graphs: NDArray[Any]) -> NDArray[Any]:
    """Call a function on a batch of graphs at a time and put the results together.

    Parameters
    ----------
    few
        Takes arrays with dims ``graph, source, target``; returns one with dims ``graph, …``.
    graphs
        Arrays with dims ``…, source, target`` of equal shape.

    Returns
    -------
    numpy.ndarray
        Dims ``…`` of the graphs, then what the function gives for each.
    """
    *leading, n, m = graphs[0].shape
    flat = [part.reshape(-1, n, m) for part in graphs]
    size = max(1, BATCH_BYTES // max(1, n * m * 8))
    starts = range(0, max(1, len(flat[0])), size)
    found = [few(*(part[start : start + size] for part in flat)) for start in starts]
    whole = found[0] if len(found) == 1 else np.concatenate(found)
    return whole.reshape(*leading, *whole.shape[1:])
