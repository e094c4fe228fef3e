"""Conversion of tensors on a device into NumPy arrays.

Tensors on torch's meta device have shapes but no numbers (`cntbench.engine.meter`) and become NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def to_array(values: Tensor) -> Array:
    """Return the values, in at least single precision."""
    if values.is_meta:
        return np.full(values.shape, np.nan)
    array: Array = values.cpu().numpy()
    return array


def target_change(
    measure: Callable[[Tensor, Tensor], Tensor] | None, clean: Tensor, ablated: Tensor
) -> Array:
    """Return the change of targets, dims ``run, component, prompt``.

    Parameters
    ----------
    measure
        Reduces a change to a number; a file of ``cntbench/ablations/measures``.
    clean, ablated
        Images of the targets' states, dims ``prompt, position, component, width``; those of
        ``ablated`` after ``run``.
    """
    assert measure is not None, "targets are measured"
    if ablated.is_meta:
        runs, prompts, _, components, _ = ablated.shape
        return np.full((runs, components, prompts), np.nan)
    return to_array(measure(clean, ablated).transpose(1, 2).double())
