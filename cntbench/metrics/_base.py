"""What every metric declares, so that it is computed and checked by what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
Need = Literal["step", "layer", "distance", "backbone"]

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

#: The axis of ``…, source, target`` over which a component's edges of a direction extend.
AXIS: Mapping[Direction, int] = {"out": -1, "in": -2}

#: Lags of metrics over time, in usable checkpoints.
LAGS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Metric:
    """A metric's declaration.

    Parameters
    ----------
    per
        What it is a number about.
    lower, upper
        Its range, both ends possible.
    degree
        Degree of homogeneity: multiplying all weights by c > 0 multiplies the metric by
        c ** degree. None if it behaves in no such way.
    null
        The null model that fits it, a file of ``cntbench/dynamics/nulls``: one under which it is
        not constant. None if there is none.
    undefined
        Where it is NaN on a graph with feasible edges, and why. None if it never is.
    needs
        What `compute` takes beside the weights, as keywords.
    backbone
        The backbone that it is about, a file of ``tasks/backbones``; if it needs one.
    units
        UDUNITS name.
    """

    per: Per
    lower: float
    upper: float
    degree: int | None
    null: str | None = None
    undefined: str | None = None
    needs: tuple[Need, ...] = ()
    backbone: str | None = None
    units: str = "1"

    @property
    def over_time(self) -> bool:
        """Whether it compares checkpoints."""
        return self.per in ("transition", "lag", "checkpoint_pair")
