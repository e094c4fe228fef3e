"""Roles at each moment: who spreads and who gathers more than its layer alone would.

In a layered graph early components have more targets and late ones more sources, and influence
between some layers is stronger than between others. The *layer-corrected strength* of a component
is its strength over what it would be if each of its edges had the mean weight of its layer pair:

    r_i = Σ_j w_ij / Σ_j m(layer i, layer j)

with m the mean over all feasible edges from the one layer to the other. The denominator is the
strength's expectation under the null model ``layer_pairs``: 1 is what layers alone give, 2 twice as
much. It is a ratio, not a difference, so that layers between which influence is strong do not fill
the top of the hierarchy. Components without feasible outgoing edges are no spreaders, those without
incoming ones no gatherers, and where layer pairs have no influence at all there are no roles: NaN.

Standard errors come from those of the weights over prompts, by linear propagation. Errors of one
component's edges are taken to be perfectly correlated, since they come from the same component on
the same prompts; those of different components to be independent. The jackknife over prompts finds
between these and independence of all edges (``docs/nulls.md``): intervals err on the wide side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from cntbench.dynamics.film import Array
from cntbench.metrics._base import Direction
from cntbench.metrics._layers import (
    by_layer,
    layer_corrected,
    strength_and_expected,
)

Role = Literal["spreader", "gatherer"]
ROLES: tuple[Role, ...] = get_args(Role)
#: Whose influence makes the role.
DIRECTION: Mapping[Role, Direction] = {"spreader": "out", "gatherer": "in"}

#: Standard errors from a strength to either end of its 95 % interval.
WIDTH = 1.959963984540054
#: The top set has one place for so many components that have the role, rounded up.
PER_PLACE = 4
#: Decimals to which strengths are compared: what differs beyond is rounding.
_DECIMALS = 9


def strength(weights: Array, layer: NDArray[np.int64], role: Role) -> Array:
    """Return layer-corrected strengths, dims ``…, component``.

    Parameters
    ----------
    weights
        Influence, dims ``…, source, target``; NaN where not feasible or undefined.
    layer
        Layers of the components.
    role
        ``"spreader"``, by outgoing, or ``"gatherer"``, by incoming influence.
    """
    return layer_corrected(weights, layer, DIRECTION[role]).astype(np.float64, copy=False)


def error(weights: Array, errors: Array, layer: NDArray[np.int64], role: Role) -> Array:
    """Return standard errors of layer-corrected strengths, dims ``…, component``.

    Parameters
    ----------
    weights, errors
        Influence and its standard errors, dims ``…, source, target``.
    layer, role
        As in `strength`.
    """
    direction = DIRECTION[role]
    own, expected = strength_and_expected(weights, layer, direction)
    present = ~np.isnan(weights)
    noise = by_layer(np.where(present, errors, 0.0), layer, direction)
    edges = by_layer(present.astype(np.float64), layer, direction)
    peers = (layer[:, None] == layer).astype(np.float64)
    # How what layers give grows with a weight of the layer pair, times the corrected strength.
    pull = _divide(own, expected, 0.0)[..., None] * _divide(edges, peers @ edges, 0.0)
    mine = ((1 - pull) * noise).sum(axis=-1)
    others = (pull @ np.swapaxes(noise, -1, -2)) ** 2 * (peers - np.eye(len(layer)))
    return _divide(np.sqrt(mine**2 + others.sum(axis=-1)), expected, np.nan)


def comparable(strengths: Array) -> Array:
    """Return strengths without the decimals that are rounding, so that equal ones are equal."""
    return np.round(strengths, _DECIMALS)


def rank(strengths: Array) -> Array:
    """Return places in the hierarchy, dims ``…, component``: 1 is the strongest, ties share."""
    rounded = comparable(strengths)
    # NaNs would spread to all ranks of their moment; nobody stands behind them.
    last = np.where(np.isnan(rounded), np.inf, -rounded)
    return np.where(np.isnan(rounded), np.nan, rankdata(last, axis=-1))


def top(ranks: Array) -> Array:
    """Return 1 for members of the top set, 0 for others, dims ``…, component``; NaN as ``ranks``.

    Who shares the last place in the set is a member too.
    """
    count = (~np.isnan(ranks)).sum(axis=-1, keepdims=True)
    places = np.maximum(-(-count // PER_PLACE), 1)
    last = np.take_along_axis(np.sort(ranks, axis=-1), places - 1, axis=-1)
    return np.where(np.isnan(ranks), np.nan, ranks <= last)


def moves(members: Array) -> Array:
    """Return 1 where a component enters the top set, -1 where it leaves, 0 else.

    Parameters
    ----------
    members
        As `top` gives them, dims ``checkpoint, component``.

    Returns
    -------
    Array
        Dims as ``members``; NaN at the first checkpoint and where there is no role.
    """
    found = np.full(members.shape, np.nan)
    found[1:] = np.diff(members, axis=0)
    return found


def _divide(number: NDArray[np.floating], by: NDArray[np.floating], otherwise: float) -> Array:
    """Return quotients, and something else where the divisor is 0."""
    found = np.full(np.broadcast_shapes(number.shape, by.shape), otherwise)
    return np.divide(number, by, out=found, where=by > 0)
