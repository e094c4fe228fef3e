"""Relative change in length: ‖o_ablated − o_clean‖ / ‖o_clean‖, mean over positions.

Range 0 to ∞. If the clean output is exactly zero, the value is 0 for an unchanged output and 1 for
a changed one (relative to itself).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RANGE = (0.0, float("inf"))


def measure(clean: Tensor, ablated: Tensor) -> Tensor:
    """Return the mean relative change, dims ``run, prompt, component``."""
    change = (ablated - clean).norm(dim=-1)
    length = clean.norm(dim=-1)
    return (change / length).where(length != 0, change.sign()).mean(dim=-2)
