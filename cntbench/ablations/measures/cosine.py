"""Cosine distance: 1 − cos(o_ablated, o_clean), mean over positions.

Range 0 to 2. It is computed as half the squared distance of the unit vectors, which is exactly 0
for equal vectors, and clipped at 2. A zero vector is at distance 0 from a zero vector and 1 from
every other vector (cos = 0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RANGE = (0.0, 2.0)


def measure(clean: Tensor, ablated: Tensor) -> Tensor:
    """Return the mean cosine distance, dims ``run, prompt, component``."""
    clean_unit, clean_zero = _unit(clean)
    ablated_unit, ablated_zero = _unit(ablated)
    distance = (ablated_unit - clean_unit).square().sum(dim=-1).div(2).clamp(max=2)
    # With one zero vector, the formula gives 1/2 although the cosine is 0.
    distance = distance.where(clean_zero == ablated_zero, distance.new_ones(()))
    return distance.mean(dim=-2)


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    length = vectors.norm(dim=-1, keepdim=True)
    zero = length == 0
    return vectors / length.masked_fill(zero, 1.0), zero.squeeze(-1)
