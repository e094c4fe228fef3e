"""Relative change in length: ‖o_ablated − o_clean‖ / ‖o_clean‖, mean over positions.

Range 0 to ∞. Where the clean output is exactly zero, an unchanged output counts 0 and a changed one
1 (relative to itself).
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
    ratio = change / length
    if not length.all():
        ratio = ratio.where(length > 0, (change > 0).to(ratio.dtype))
    return ratio.mean(dim=-2)
