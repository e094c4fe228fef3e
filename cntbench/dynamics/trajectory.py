"""The metric trajectory: features of each checkpoint's graph, in which phases are found.

At every usable checkpoint:

- turnover of edges (1 − weighted Jaccard), mean over the previous and the next checkpoint;
- concentration, the Gini coefficient of the edge weights;
- stability of the order of spreaders and of gatherers, each among peers
  (`cntbench.dynamics.orders`): Kendall's τ, mean over the previous and the next checkpoint;
- mean influence over the feasible edges.

Each is standardised over the film: mean 0, standard deviation 1. Features that do not vary are 0.

Turnover and stability between neighbours are not divided by the logarithm of the ratio of steps. If
checkpoints are evenly spaced, that ratio shrinks, and noise divided by it rises: a trend of the
spacing, not of the model. The effect of spacing therefore remains, and shows where spacing changes.
"""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.orders import stability
from cntbench.metrics import gini, turnover
from cntbench.metrics._base import TIE

FEATURES = {
    "turnover": "turnover of edges, between neighbouring checkpoints",
    "concentration": "Gini coefficient of the edge weights",
    "spreader_stability": "stability of the order of spreaders among peers, between neighbours",
    "gatherer_stability": "stability of the order of gatherers among peers, between neighbours",
    "influence": "mean influence over the feasible edges",
}


def trajectory(film: Film) -> Array:
    """Return the features of every checkpoint, dims ``checkpoint, feature``.

    Standardised; 0 for features that do not vary or are not defined.
    """
    edges = film.weights[:, film.feasible]
    raw = np.column_stack(
        [
            _of_neighbours(np.asarray(turnover.compute(film.weights)[1:], dtype=np.float64)),
            gini.compute(film.weights),
            _of_neighbours(stability(film, "spreader", "peers", 1)),
            _of_neighbours(stability(film, "gatherer", "peers", 1)),
            edges.mean(axis=1) if edges.size else np.zeros(len(film)),
        ]
    )
    return standardised(raw)


def standardised(values: Array) -> Array:
    """Return columns with mean 0 and standard deviation 1, or 0 where they do not vary.

    Takes and returns dims ``…, checkpoint, feature``.
    """
    centred = values - values.mean(axis=-2, keepdims=True)
    deviation = centred.std(axis=-2, keepdims=True)
    size = np.abs(values).max(axis=-2, keepdims=True, initial=0)
    varies = deviation > TIE * size
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=varies)


def _of_neighbours(transitions: Array) -> Array:
    """Return the mean over the transitions to and from each checkpoint."""
    if not len(transitions):
        return np.zeros(1)
    return np.asarray(
        np.concatenate(
            [transitions[:1], (transitions[1:] + transitions[:-1]) / 2, transitions[-1:]]
        )
    )
