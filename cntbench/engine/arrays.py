"""From tensors to arrays of numpy: where numbers leave the device.

On torch's meta device there are shapes but no numbers (`cntbench.engine.meter`): arrays are NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def to_array(values: Tensor) -> Array:
    """Return the values, of single precision at least."""
    if values.is_meta:
        return np.full(values.shape, np.nan)
    array: Array = values.cpu().numpy()
    return array


def target_change(
    measure: Callable[[Tensor, Tensor], Tensor] | None, clean: Tensor, ablated: Tensor
) -> Array:
    """Return how far targets moved, dims ``run, component, prompt``.

    Parameters
    ----------
    measure
        What makes a number of a change; a file of ``cntbench/ablations/measures``.
    clean, ablated
        Images of the targets' states, dims ``prompt, position, component, width``, and ``run``
        first.
    """
    assert measure is not None, "targets are measured"
    if ablated.is_meta:
        runs, prompts, _, components, _ = ablated.shape
        return np.full((runs, components, prompts), np.nan)
    return to_array(measure(clean, ablated).transpose(1, 2).double())
