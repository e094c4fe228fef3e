"""Graphs of untrained models: the same architecture, initial weights of other seeds.

Keeps the architecture, the prompts and the method. Randomises everything that training changes.
Asks: does any model of this shape show this before it has learnt anything? Each draw is one
untrained model, the same at all checkpoints; there are as many draws as models were measured.

Source: Adebayo et al. 2018, "Sanity checks for saliency maps" (model parameter randomisation).
"""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.errors import CntbenchError


def everything(film: Film) -> Array:
    """Return all draws, dims ``draw, checkpoint, source, target``, at a single checkpoint."""
    feasible = film.feasible if len(film) else True
    return np.where(feasible, film.untrained[:, None], np.nan)


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return the graphs of untrained models; each occurs at most once.

    Raises a `CntbenchError` if a single draw is requested and no untrained model was measured.
    """
    models = rng.permutation(len(film.untrained))[: 1 if size is None else size]
    if size is None and not len(models):
        raise CntbenchError(
            "no untrained models were measured",
            hint="Run a study with untrained = 20, on a trajectory that can initialise models.",
        )
    drawn = np.where(np.isnan(film.weights), np.nan, everything(film)[models])
    return drawn[0] if size is None else drawn
