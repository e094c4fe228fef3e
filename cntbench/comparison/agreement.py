"""Agreement of two influence matrices, and of two films at every checkpoint and overall.

Statistics (dim ``statistic``): rank correlation and top overlap of the edges, and of the strengths
of components as spreaders and as gatherers. All use the entries that are defined (not NaN) on both
sides; for influence, the feasible edges.

Early components have more targets, late ones more sources, and influence differs between layers
regardless of the components. For their strengths, each edge's weight is therefore divided by the
mean weight between its two layers; a strength is the mean over feasible edges.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from cntbench.analysis.intervals import film_interval
from cntbench.analysis.recovery import tied
from cntbench.files.attributes import described
from cntbench.metrics._base import divide

#: Share of the feasible edges, and of the components with a strength, that counts as the top.
TOP_EDGES = 0.1
TOP_COMPONENTS = 0.2

STATISTICS = {
    "edge_rank": "rank correlation of edges",
    "edge_top": "overlap of the top tenth of the edges",
    "spreader_rank": "rank correlation of spreaders",
    "spreader_top": "overlap of the top fifth of the spreaders",
    "gatherer_rank": "rank correlation of gatherers",
    "gatherer_top": "overlap of the top fifth of the gatherers",
}

Array = NDArray[np.float64]


def agreement(first: Array, second: Array, layers: NDArray[np.int_]) -> Array:
    """Compare two influence matrices over the same components.

    Parameters
    ----------
    first, second
        Dims ``source, target``; NaN where not feasible, or not measured.

    Returns
    -------
    Array
        Dims ``statistic``, in the order of `STATISTICS`; NaN where undefined.
    """
    defined = ~(np.isnan(first) | np.isnan(second))
    first, second = (np.where(defined, weights, np.nan) for weights in (first, second))
    statistics = [
        rank_correlation(first, second),
        top_overlap(first, second, top_count(first, TOP_EDGES)),
    ]
    for a, b in zip(strengths(first, layers), strengths(second, layers), strict=True):
        statistics += [rank_correlation(a, b), top_overlap(a, b, top_count(a, TOP_COMPONENTS))]
    return np.array(statistics)


def top_count(scores: Array, share: float) -> int:
    """Return the number of scores in the top share of the defined ones, at least 1."""
    return max(1, round(share * int((~np.isnan(scores)).sum())))


def film_agreement(
    first: xr.DataArray, second: xr.DataArray, layers: NDArray[np.int_]
) -> xr.Dataset:
    """Compare two films of influence at every checkpoint, and overall.

    Parameters
    ----------
    first, second
        Influence, with dims ``checkpoint``, ``source``, ``target`` and others. Shared dims are
        compared label by label; along a dim that only one film has, every label is compared with
        the other film. Renaming ``ablation`` to ``other_ablation`` in one copy of a film thus
        compares all pairs.

    Returns
    -------
    xarray.Dataset
        ``agreement`` at each checkpoint, and ``agreement_mean``, ``agreement_low`` and
        ``agreement_high`` over the checkpoints.
    """
    first, second = xr.align(first, second, join="exact", copy=False)
    first, second = xr.broadcast(first, second, exclude=("source", "target"))
    outer = [str(dim) for dim in first.dims if dim not in ("checkpoint", "source", "target")]
    order = (*outer, "checkpoint", "source", "target")
    a, b = first.transpose(*order).values, second.transpose(*order).values
    values = np.empty((len(STATISTICS), *a.shape[:-2]))
    for cell in np.ndindex(*a.shape[:-2]):
        values[:, *cell] = agreement(a[cell], b[cell], layers)
    cells = first.transpose(*order).isel(source=0, target=0, drop=True)
    coordinates = {name: c for name, c in cells.coords.items() if set(c.dims) <= set(cells.dims)}
    dataset = xr.Dataset(coords={"statistic": list(STATISTICS), **coordinates})
    meanings = "; ".join(f"{k}: {v}" for k, v in STATISTICS.items())
    dataset["statistic"].attrs = described("statistic", meanings)
    dataset["agreement"] = (
        ("statistic", *outer, "checkpoint"),
        values,
        described("agreement", "agreement of two influence matrices", "1"),
    )
    return dataset.assign(interval_over_checkpoints(dataset["agreement"], "agreement", "agreement"))


def interval_over_checkpoints(
    values: xr.DataArray, name: str, about: str
) -> dict[str, xr.DataArray]:
    """Return the mean and its interval over checkpoints: ``name_mean``, ``_low``, ``_high``."""
    order = [dim for dim in values.dims if dim != "checkpoint"]
    rows = values.transpose(*order, "checkpoint")
    bounds = np.apply_along_axis(lambda row: np.array(film_interval(row)), -1, rows.values)
    empty = rows.isel(checkpoint=0, drop=True)
    return {
        f"{name}_{end}": empty.copy(data=bounds[..., index]).assign_attrs(
            described(f"{name}_{end}", f"{about}: {words}", "1")
        )
        for index, (end, words) in enumerate(
            [
                ("mean", "mean over checkpoints"),
                ("low", "lower end of its 95 % interval"),
                ("high", "upper end of its 95 % interval"),
            ]
        )
    }


def relative_to_layers(weights: Array, layers: NDArray[np.int_]) -> Array:
    """Divide each weight by the mean of the feasible edges between the same two layers.

    Parameters
    ----------
    weights
        Influence, dims ``source, target``; NaN where not feasible.

    Returns
    -------
    Array
        Dims ``source, target``; mean 1 between any two layers (1 throughout where all are zero).
    """
    relative = np.full_like(weights, np.nan, dtype=np.float64)
    for first in np.unique(layers):
        for second in np.unique(layers):
            block = np.ix_(layers == first, layers == second)
            edges = weights[block]
            if np.isnan(edges).all():
                continue
            mean = np.nanmean(edges)
            relative[block] = edges / mean if mean else np.where(np.isnan(edges), np.nan, 1.0)
    return relative


def strengths(weights: Array, layers: NDArray[np.int_]) -> tuple[Array, Array]:
    """Return the strengths of each component as spreader and as gatherer.

    Returns
    -------
    tuple of Array
        Mean over feasible outgoing and over incoming edges, relative to the layers; those that
        differ by rounding are equal. NaN for components without such edges.
    """
    relative = relative_to_layers(weights, layers)
    feasible = ~np.isnan(relative)
    sent, received = (
        tied(divide(np.nansum(relative, axis=axis), feasible.sum(axis=axis))) for axis in (1, 0)
    )
    return sent, received


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return Spearman's ρ of all entries; ties share their mean rank.

    Returns
    -------
    float
        From −1 to 1; NaN if fewer than two entries are defined, or all scores of a side are equal.
    """
    a, b = _of_one_shape(first, second)
    return float(rank_correlations(a.ravel(), b.ravel()))


def rank_correlations(first: ArrayLike, second: ArrayLike) -> Array:
    """Return `rank_correlation` along the last dim, dims ``…, entry`` → ``…``."""
    a, b = _of_one_shape(first, second)
    defined = ~(np.isnan(a) | np.isnan(b))
    mean = (defined.sum(axis=-1, keepdims=True) + 1) / 2
    x, y = (np.where(defined, _ranks(np.where(defined, v, np.nan)) - mean, 0) for v in (a, b))
    return divide((x * y).sum(axis=-1), np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1)))


def _ranks(scores: Array) -> Array:
    """Return ranks from 1 along the last dim, NaN for NaN."""
    rows = pd.DataFrame(scores.reshape(-1, scores.shape[-1]))  # scipy takes a second to import
    return rows.rank(axis=1).to_numpy().reshape(scores.shape)


def split_half(first: ArrayLike, second: ArrayLike) -> float:
    """Return the reliability of scores that were measured on each half of the prompts.

    2 ρ / (1 + |ρ|) of Spearman's ρ, the correlation of the whole given that of two halves; the
    absolute value keeps a negative ρ within −1 to 1. Sources: Spearman 1910; Brown 1910.

    Returns
    -------
    float
        From −1 to 1; NaN where ρ is undefined.
    """
    correlation = rank_correlation(first, second)
    return 2 * correlation / (1 + abs(correlation))


def top_overlap(first: ArrayLike, second: ArrayLike, k: int) -> float:
    """Return the weighted Jaccard index of the top k: Σ min(v, w) / Σ max(v, w).

    The weights v and w of an entry on either side are 1 above the k-th largest score and 0 below
    it; entries equal to that score share the remaining places. Without ties this is the Jaccard
    index of the two sets.

    Returns
    -------
    float
        From 0 to 1, symmetric in the two sides; NaN if fewer than k entries are defined.
    """
    a, b = _defined_in_both(first, second)
    if not 1 <= k <= len(a):
        return np.nan
    v, w = _membership(a, k), _membership(b, k)
    return float(np.minimum(v, w).sum() / np.maximum(v, w).sum())


def _membership(scores: Array, k: int) -> Array:
    threshold = np.partition(scores, -k)[-k]
    above, at = scores > threshold, scores == threshold
    return above + at * ((k - above.sum()) / at.sum())


def _defined_in_both(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    a, b = _of_one_shape(first, second)
    defined = ~(np.isnan(a) | np.isnan(b))
    return a[defined], b[defined]


def _of_one_shape(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"scores of shapes {a.shape} and {b.shape} cannot be compared")
    return a, b
