"""One checkpoint as a matrix of source × target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cntbench.views.film import FilmView

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Heatmap:
    """Influence at one checkpoint.

    Parameters
    ----------
    component
        Names in causal order, of rows and columns.
    weight, error
        Influence and its standard error, dims ``source, target``; NaN where an edge is not
        feasible or not measured.
    """

    component: tuple[str, ...]
    weight: Array
    error: Array


def heatmap(film: FilmView, checkpoint: int) -> Heatmap:
    """Return the matrix of a film at a checkpoint, given by its index."""
    layout = film.layout
    count = len(layout.component)
    matrices = []
    for values in (film.weight, film.error):
        matrix = np.full((count, count), np.nan)
        matrix[layout.source, layout.target] = values[checkpoint]
        matrices.append(matrix)
    return Heatmap(layout.component, *matrices)
