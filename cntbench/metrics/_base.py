"""What every metric declares, so that the common checks apply by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Per = Literal["source", "target", "graph", "transition"]


@dataclass(frozen=True)
class Metric:
    """A metric's declaration.

    Parameters
    ----------
    per
        What it is a number about.
    lower, upper
        Its range, both ends possible. NaN where it is not defined.
    degree
        Degree of homogeneity: multiplying all weights by c > 0 multiplies the metric by
        c ** degree. None if it behaves in no such way.
    null
        The null model that fits it, a file of ``cntbench/dynamics/nulls``: one under which it is
        not constant. None if there is none.
    units
        UDUNITS name.
    """

    per: Per
    lower: float
    upper: float
    degree: int | None
    null: str | None = None
    units: str = "1"
