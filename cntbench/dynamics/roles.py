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

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from cntbench.dynamics.film import Array

Role = Literal["spreader", "gatherer"]
ROLES: tuple[Role, ...] = get_args(Role)

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

    Examples
    --------
    Two sources in layer 0 that reach one target in layer 1, one of them three times as strongly:

    >>> import numpy as np
    >>> weights = np.full((3, 3), np.nan)
    >>> weights[:2, 2] = 3, 1
    >>> strength(weights, np.array([0, 0, 1]), "spreader")
    array([1.5, 0.5, nan])
    """
    own, expected = _own_and_expected(_from(role, weights), layer)
    return _divide(own, expected, np.nan)


def error(weights: Array, errors: Array, layer: NDArray[np.int64], role: Role) -> Array:
    """Return standard errors of layer-corrected strengths, dims ``…, component``.

    Parameters
    ----------
    weights, errors
        Influence and its standard errors, dims ``…, source, target``.
    layer, role
        As in `strength`.
    """
    weights = _from(role, weights)
    own, expected = _own_and_expected(weights, layer)
    member = _membership(layer)
    present = ~np.isnan(weights)
    count = present.astype(np.float64) @ member
    noise = np.where(present, _from(role, errors), 0.0) @ member
    # Part of what layers give that changes with a weight of the layer pair, times the strength.
    pull = _divide(own, expected, 0.0)[..., None] * _divide(count, _over_layer(count, member), 0.0)
    mine = ((1 - pull) * noise).sum(axis=-1)
    of_peers = np.square(pull @ np.swapaxes(noise, -1, -2))
    peers = (layer[:, None] == layer) & ~np.eye(len(layer), dtype=bool)
    total = np.sqrt(mine**2 + np.where(peers, of_peers, 0.0).sum(axis=-1))
    return _divide(total, expected, np.nan)


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

    Who shares a place that reaches beyond the set is no member.
    """
    count = (~np.isnan(ranks)).sum(axis=-1, keepdims=True)
    return np.where(np.isnan(ranks), np.nan, ranks <= -(-count // PER_PLACE))


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


def _from(role: Role, edges: Array) -> Array:
    """Return edges with the component whose role it is first."""
    return edges if role == "spreader" else np.swapaxes(edges, -1, -2)


def _own_and_expected(weights: Array, layer: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return strengths, and what they would be by the means of layer pairs; NaN without edges."""
    member = _membership(layer)
    present = ~np.isnan(weights)
    total = np.where(present, weights, 0.0) @ member
    count = present.astype(np.float64) @ member
    mean = _divide(_over_layer(total, member), _over_layer(count, member), 0.0)
    return total.sum(axis=-1), (count * mean).sum(axis=-1)


def _over_layer(values: Array, member: Array) -> Array:
    """Return sums over the components of each one's layer, dims ``…, component, other layer``."""
    return np.asarray(member @ (member.T @ values))


def _membership(layer: NDArray[np.int64]) -> Array:
    """Return which layer each component is in, dims ``component, layer``."""
    return (layer[:, None] == np.unique(layer)).astype(np.float64)


def _divide(number: Array, by: Array, otherwise: float) -> Array:
    """Return quotients, and something else where the divisor is 0."""
    found = np.full(np.broadcast_shapes(number.shape, by.shape), otherwise)
    return np.divide(number, by, out=found, where=by > 0)
