"""Agreement of two influence matrices, and of two films at every checkpoint and overall.

Statistics (dim ``statistic``): rank correlation and top overlap of the edges, and the same of the
components' strengths as spreaders and as gatherers (`cntbench.comparison.strengths`).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.analysis.intervals import block_interval
from cntbench.comparison.ranks import rank_correlation, top_overlap
from cntbench.comparison.strengths import strengths

#: Share of the feasible edges, and of the components with a strength, that are the top ones.
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


def agreement(one: Array, other: Array, layers: NDArray[np.int_]) -> Array:
    """Compare two influence matrices over the same components.

    Parameters
    ----------
    one, other
        Dims ``source, target``; NaN where not feasible.
    layers
        Layer of each component.

    Returns
    -------
    Array
        Dims ``statistic``, in the order of `STATISTICS`; NaN where undefined.
    """
    found = [rank_correlation(one, other), top_overlap(one, other, top(one, TOP_EDGES))]
    for mine, theirs in zip(strengths(one, layers), strengths(other, layers), strict=True):
        found.append(rank_correlation(mine, theirs))
        found.append(top_overlap(mine, theirs, top(mine, TOP_COMPONENTS)))
    return np.array(found)


def top(scores: Array, share: float) -> int:
    """Return how many of the defined scores are the top ones: at least one."""
    return max(1, round(share * int((~np.isnan(scores)).sum())))


def film_agreement(
    one: xr.DataArray, other: xr.DataArray, layers: NDArray[np.int_], *, seed: int = 0
) -> xr.Dataset:
    """Compare two films of influence at every checkpoint, and overall.

    Parameters
    ----------
    one, other
        Influence, with dims ``checkpoint``, ``source`` and ``target`` and others. A dim that both
        have (and its labels) is compared one by one, one that only one of them has with all of the
        other's: so a film and itself with ``ablation`` renamed ``other_ablation`` gives all pairs.
    layers
        Layer of each component.
    seed
        Of the bootstrap over checkpoints.

    Returns
    -------
    xarray.Dataset
        ``agreement`` at each checkpoint, and ``agreement_mean``, ``agreement_low`` and
        ``agreement_high`` over the checkpoints.
    """
    one, other = xr.align(one, other, join="exact", copy=False)
    one, other = xr.broadcast(one, other, exclude=("source", "target"))
    outer = [str(dim) for dim in one.dims if dim not in ("checkpoint", "source", "target")]
    order = (*outer, "checkpoint", "source", "target")
    mine, theirs = one.transpose(*order).values, other.transpose(*order).values
    found = np.empty((len(STATISTICS), *mine.shape[:-2]))
    for cell in np.ndindex(*mine.shape[:-2]):
        found[:, *cell] = agreement(mine[cell], theirs[cell], layers)
    overall = np.apply_along_axis(lambda row: np.array(block_interval(row, seed=seed)), -1, found)
    whole = one.transpose(*order).isel(source=0, target=0, drop=True)
    coordinates = {name: c for name, c in whole.coords.items() if set(c.dims) <= set(whole.dims)}
    units = {"units": "1"}
    dataset = xr.Dataset(coords={"statistic": list(STATISTICS), **coordinates})
    dataset["statistic"].attrs["long_name"] = "; ".join(f"{k}: {v}" for k, v in STATISTICS.items())
    dataset["agreement"] = (
        ("statistic", *outer, "checkpoint"),
        found,
        {"long_name": "agreement of two influence matrices", **units},
    )
    for index, (name, what) in enumerate(
        [
            ("mean", "mean agreement over checkpoints"),
            ("low", "lower end of its 95 % block bootstrap interval"),
            ("high", "upper end of its 95 % block bootstrap interval"),
        ]
    ):
        attributes = {"long_name": what, **units}
        dataset[f"agreement_{name}"] = (("statistic", *outer), overall[..., index], attributes)
    return dataset
