"""What metrics share: their declaration, division by what may be 0, and when numbers are tied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cntbench.errors import unknown

Array = NDArray[np.floating]

Per = Literal[
    "source",
    "target",
    "component",
    "source_by_layer",
    "target_by_layer",
    "graph",
    "transition",
    "lag",
    "checkpoint_pair",
]
Direction = Literal["out", "in"]

#: Dims of a film's metric, after ``task, ablation``.
DIMS: Mapping[Per, tuple[str, ...]] = {
    "source": ("checkpoint", "source"),
    "target": ("checkpoint", "target"),
    "component": ("checkpoint", "component"),
    "source_by_layer": ("checkpoint", "source", "layer"),
    "target_by_layer": ("checkpoint", "target", "layer"),
    "graph": ("checkpoint",),
    "transition": ("checkpoint",),
    "lag": ("checkpoint", "lag"),
    "checkpoint_pair": ("checkpoint", "other_checkpoint"),
}

#: The axis of ``…, source, target`` along which a component's outgoing or incoming edges lie.
AXIS: Mapping[Direction, int] = {"out": -1, "in": -2}

#: Lags of metrics per lag, in usable checkpoints.
LAGS = (1, 2, 4, 8, 16, 32)

#: Relative tolerance within which numbers are tied, so that rounding decides nothing: path lengths,
#: ranked strengths, gains in modularity (absolute), draws of null models. Noise below this fraction
#: of a weight counts as none.
TIE = 1e-9


@dataclass(frozen=True)
class Metric:
    """A metric's declaration.

    Parameters
    ----------
    per
        What the metric describes.
    lower, upper
        Its range, ends included.
    degree
        Degree of homogeneity: multiplying all weights by c > 0 multiplies the metric by
        c ** degree. None if the metric is not homogeneous.
    null
        The null model to compare it with, a file of ``cntbench/dynamics/nulls`` under which the
        metric is not constant. None if there is none.
    undefined
        Where the metric is NaN on a graph with feasible edges, and why. None if it never is.
    needs
        What `compute` takes besides the weights, as keywords: what `cntbench.metrics` lists, and
        names of other metrics.
    backbone
        The backbone it needs, a file of ``tasks/backbones``, if any.
    units
        UDUNITS name.
    """

    per: Per
    lower: float
    upper: float
    degree: int | None
    null: str | None = None
    undefined: str | None = None
    needs: tuple[str, ...] = ()
    backbone: str | None = None
    units: str = "1"

    def __post_init__(self) -> None:
        if self.per not in DIMS:
            raise unknown("per", self.per, DIMS)

    @property
    def over_time(self) -> bool:
        """Whether the metric compares checkpoints."""
        return self.per in ("transition", "lag", "checkpoint_pair")


def divide(number: ArrayLike, by: ArrayLike, otherwise: float = np.nan) -> NDArray[np.float64]:
    """Return the broadcast quotients; ``otherwise`` where the divisor is not positive."""
    by = np.asarray(by)
    positive = by > 0
    if positive.all():  # masks cost more than divisions
        return np.asarray(np.divide(number, by, dtype=np.float64))
    quotient = np.asarray(np.divide(number, np.where(positive, by, 1), dtype=np.float64))
    np.copyto(quotient, otherwise, where=~positive)
    return quotient


def order(first: Array, second: Array) -> NDArray[np.int8]:
    """Return 1 where the first of two numbers is larger, -1 where the second is, 0 for ties.

    Numbers that are not negative; they are tied where they agree to a share of `TIE`.
    """
    tied = np.abs(first - second) <= TIE * np.maximum(first, second)
    return np.where(tied, 0, np.where(first > second, 1, -1)).astype(np.int8)
