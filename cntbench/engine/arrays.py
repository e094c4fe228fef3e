"""Conversion of tensors on a device into NumPy arrays.

Tensors on torch's meta device have shapes but no numbers (`cntbench.engine.meter`) and become NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def to_array(values: Tensor) -> Array:
    """Return the values, in at least single precision."""
    if values.is_meta:
        return np.full(values.shape, np.nan)
    array: Array = values.cpu().numpy()
    return array


def measured_change(
    measure: Callable[[Tensor, Tensor], Tensor] | None, clean: Tensor, ablated: Tensor
) -> Tensor:
    """Return the change of targets, on their device, dims ``run, component, prompt``, float64.

    Takes a measure (`cntbench.ablations.measures`) and images of the targets' states, dims
    ``prompt, position, component, width``; those of ``ablated`` after ``run``.
    """
    assert measure is not None, "targets are measured"
    if ablated.is_meta:
        runs, prompts, _, components, _ = ablated.shape
        return ablated.new_empty((runs, components, prompts), dtype=torch.float64)
    return measure(clean, ablated).transpose(1, 2).double()


#: Values that wait on a device before they are copied back [bytes].
MOST_WAITING = 2**28


class Arrivals:
    """Values that stay on the device until all are computed, and then come back in one copy.

    A copy waits for the device. It comes earlier where the values take much memory. On a CPU, where
    there is nothing to wait for, values arrive at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.at_once = device.type in ("cpu", "meta")
        self._waiting: list[tuple[Tensor, Callable[[Array], object]]] = []

    def add(self, values: Tensor, keep: Callable[[Array], object]) -> None:
        """Queue values to be copied back, and the function that then stores them."""
        if self.at_once:
            keep(to_array(values))
            return
        self._waiting.append((values, keep))
        if sum(waiting.nbytes for waiting, _ in self._waiting) > MOST_WAITING:
            self.bring()

    def bring(self) -> None:
        """Copy all queued values back, with one copy for each type."""
        for dtype in dict.fromkeys(values.dtype for values, _ in self._waiting):
            waiting = [(v, keep) for v, keep in self._waiting if v.dtype == dtype]
            array = to_array(torch.cat([values.reshape(-1) for values, _ in waiting]))
            parts = np.split(array, np.cumsum([values.numel() for values, _ in waiting])[:-1])
            for (values, keep), part in zip(waiting, parts, strict=True):
                keep(part.reshape(values.shape))
        self._waiting.clear()
