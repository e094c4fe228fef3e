"""Three checkpoints that show what training did: before, at and after emergence."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from cntbench.results.film import usable
from cntbench.views.emergence import emergence
from cntbench.views.readouts import task_of_interest


def moments(tree: xr.DataTree) -> list[dict[str, Any]]:
    """Return name, checkpoint and step of up to three moments, in the order of training.

    They are the last checkpoint before the onset of the task of interest, the one nearest to its
    half-way step, and the last one; without an emergence the first, the middle and the last one.
    Checkpoints that do not count are left out.
    """
    root = tree.to_dataset(inherit=False)
    counts = np.flatnonzero(usable(root))
    if not len(counts):
        return []
    steps = root["step"].values
    risen = emergence(root, task_of_interest(root), draws=0)
    if len(counts) == 1:
        named = [("the only graph", counts[0])]
    elif risen is None:
        named = [("first", counts[0]), ("middle", counts[len(counts) // 2]), ("last", counts[-1])]
    else:
        earlier = counts[steps[counts] < risen.onset.step]
        nearest = counts[np.abs(steps[counts] - risen.halfway.step).argmin()]
        named = [("before", earlier[-1]), ("at half-way", nearest), ("after", counts[-1])]
    distinct = {int(checkpoint): name for name, checkpoint in reversed(named)}
    return [
        {"name": distinct[checkpoint], "checkpoint": checkpoint, "step": int(steps[checkpoint])}
        for checkpoint in sorted(distinct)
    ]
