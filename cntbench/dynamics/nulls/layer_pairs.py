"""Weights permuted within each layer pair, independently at each checkpoint.

Keeps, at every checkpoint, the multiset of weights from each layer to each other layer, and with it
everything that depends on layers alone. Randomises which components carry which weight. Asks: is
this more than what components of these layers would have if the weights between the layers were
assigned to them at random?

Source: the layer-preserving case of permutation within groups (Good 2005, "Permutation, parametric
and bootstrap tests of hypotheses"); weights reshuffled on a fixed topology, Opsahl et al. 2008,
"Prominence and control: the weighted rich-club effect".
"""

from __future__ import annotations

import numpy as np

from cntbench.dynamics.film import Array, Film
from cntbench.dynamics.nulls._draws import copies, layer_pair


def draw(film: Film, rng: np.random.Generator, size: int | None = None) -> Array:
    """Return permuted weights; a weight that is undefined stays where it is."""
    drawn = copies(film, size)
    feasible = film.feasible
    # Weights are exchangeable within a group: a layer pair, its undefined weights apart.
    group = layer_pair(film)[feasible] * 2 + np.isnan(film.weights[:, feasible])
    places = np.broadcast_to(group.argsort(axis=-1, kind="stable"), drawn[..., feasible].shape)
    shuffled = (group + rng.random(places.shape)).argsort(axis=-1)
    edges = drawn[..., feasible]
    taken = np.take_along_axis(edges, shuffled, axis=-1)
    np.put_along_axis(edges, places, taken, axis=-1)
    drawn[..., feasible] = edges
    return drawn
