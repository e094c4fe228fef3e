"""Roles at each checkpoint: components that spread or gather more than their layer explains.

In a layered graph, early components have more targets, late components have more sources, and
influence is stronger between some layers than between others. The *layer-corrected strength* of a
component is its strength divided by the strength that it would have if each of its edges had the
mean weight of its layer pair:

    r_i = Σ_j w_ij / Σ_j m(layer i, layer j)

where m is the mean over all feasible edges from one layer to the other. The denominator is the
strength's expectation under the null model ``layer_pairs``: 1 is what layers alone explain, 2 is
twice as much. A ratio, unlike a difference, keeps layers with strong influence from filling the top
of the hierarchy. Components without feasible outgoing edges cannot be spreaders; those without
incoming edges cannot be gatherers; and layer pairs without any influence have no roles (NaN).

Standard errors are propagated linearly from those of the weights over prompts. Errors of one
component's edges are assumed to be perfectly correlated, because they come from the same component
on the same prompts; errors of different components are assumed to be independent. The jackknife
over prompts gives errors between these and those of independent edges (``docs/nulls.md``), so
intervals are conservative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cntbench.dynamics.film import Array
from cntbench.dynamics.resampling import TAIL
from cntbench.metrics._base import Direction, divide
from cntbench.metrics._layers import by_layer, layer_corrected, of_peers, strength_and_expected

Role = Literal["spreader", "gatherer"]
ROLES: tuple[Role, ...] = get_args(Role)
#: The direction of the influence that makes the role.
DIRECTION: Mapping[Role, Direction] = {"spreader": "out", "gatherer": "in"}

#: Components with the role per member of the top set, rounded up.
PER_PLACE = 4
#: Decimals to which strengths are compared; smaller differences are rounding errors.
_DECIMALS = 9


def strength(weights: Array, layer: NDArray[np.int64], role: Role) -> Array:
    """Return layer-corrected strengths, dims ``…, component``.

    Parameters
    ----------
    weights
        Influence, dims ``…, source, target``; NaN where not feasible or undefined.
    role
        ``"spreader"``, by outgoing, or ``"gatherer"``, by incoming influence.
    """
    return layer_corrected(weights, layer, DIRECTION[role]).astype(np.float64, copy=False)


def error(weights: Array, errors: Array, layer: NDArray[np.int64], role: Role) -> Array:
    """Return standard errors of layer-corrected strengths, dims ``…, component``."""
    direction = DIRECTION[role]
    strengths, expected = (
        np.moveaxis(values, -1, 0) for values in strength_and_expected(weights, layer, direction)
    )
    present = ~np.isnan(weights)
    noise, edges = (
        by_layer(np.moveaxis(values, (-2, -1), (0, 1)), layer, direction)
        for values in (np.where(present, errors, 0.0), present)
    )
    # Derivative of the expected strength by a weight of the layer pair, times corrected strength.
    pull = divide(strengths, expected, 0.0)[:, None] * divide(edges, of_peers(edges, layer), 0.0)
    own = ((1 - pull) * noise).sum(axis=1)
    pulls = np.einsum("il...,jl...->ij...", pull, noise)
    pulls[(layer[:, None] != layer) | np.eye(len(layer), dtype=bool)] = 0
    return np.moveaxis(divide(np.sqrt(own**2 + (pulls**2).sum(axis=1)), expected), 0, -1)


def half_width(errors: Array, prompts: Array) -> Array:
    """Return half the width of strengths' intervals, by Student's t over prompts.

    Takes what `error` returns, dims ``checkpoint, component``, and the number of prompts, dims
    ``checkpoint`` or none.
    """
    from scipy import special

    quantile = -special.stdtrit(np.maximum(prompts - 1, 1), TAIL)
    return np.asarray(errors * quantile[..., None])


def comparable(strengths: Array) -> Array:
    """Return strengths rounded to the decimals that are compared."""
    return np.round(strengths, _DECIMALS)


def rank(strengths: Array) -> Array:
    """Return ranks by strength, dims ``…, component``: 1 is the strongest; ties share ranks."""
    import pandas as pd  # scipy.stats has the same, and takes a second to import

    rounded = comparable(strengths)
    rows = pd.DataFrame(-rounded.reshape(-1, rounded.shape[-1]))
    return rows.rank(axis=1).to_numpy().reshape(rounded.shape)


def top(ranks: Array) -> Array:
    """Return 1 for members of the top set, 0 for others, dims ``…, component``; NaN as ``ranks``.

    Components tied with the last member are members too.
    """
    count = (~np.isnan(ranks)).sum(axis=-1, keepdims=True)
    size = np.maximum(-(-count // PER_PLACE), 1)
    last = np.take_along_axis(np.sort(ranks, axis=-1), size - 1, axis=-1)
    return np.where(np.isnan(ranks), np.nan, ranks <= last)


def moves(members: Array) -> Array:
    """Return 1 where a component enters the top set, -1 where it leaves it, else 0.

    Takes what `top` returns, dims ``checkpoint, component``, and returns the same dims; NaN at the
    first checkpoint and where a component lacks the role.
    """
    change = np.full(members.shape, np.nan)
    change[1:] = np.diff(members, axis=0)
    return change
