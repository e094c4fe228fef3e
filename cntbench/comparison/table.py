"""The comparison as one dataset: recovery, diagnostics, agreement, reliability and cost."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cntbench.analysis.intervals import block_interval
from cntbench.comparison.agreement import film_agreement

#: Costs are given relative to this ablation's, where it is among those compared.
YARDSTICK = "zero"
#: By which a comparison is known.
TITLE = "Ablation methods compared"

#: What stands for an ablation that a part does not know, where it is not NaN.
_FILL = {"what": "", "seeds": 0}


def comparison(
    trained: xr.Dataset | None = None,
    recovered: xr.Dataset | None = None,
    diagnosed: xr.Dataset | None = None,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Put together what is known of ablation methods.

    Parameters
    ----------
    trained
        By `cntbench.comparison.trained.measure_trained`.
    recovered, diagnosed
        By `cntbench.analysis.recovery.recovery` and
        `cntbench.analysis.diagnostics.diagnostics`.
    seed
        Of the bootstrap over checkpoints.

    Returns
    -------
    xarray.Dataset
        All variables of the parts (diagnostics with dim ``special`` instead of ``circuit``), with
        one ``ablation`` coordinate, in the order in which the parts name them first.
    """
    parts = []
    if trained is not None:
        parts += [_agreement(trained, seed), _reliability(trained, seed), _cost(trained)]
    if recovered is not None:
        parts.append(recovered)
    if diagnosed is not None:
        parts.append(diagnosed.rename(circuit="special"))
    names = list(dict.fromkeys(str(name) for part in parts for name in part["ablation"].values))
    aligned = [
        part.reindex(ablation=names, fill_value={k: v for k, v in _FILL.items() if k in part})
        for part in parts
    ]
    dataset = xr.merge(aligned, join="exact", compat="equals", combine_attrs="drop_conflicts")
    dataset.attrs = {
        "title": TITLE,
        "yardstick": YARDSTICK,
        "bootstrap_seed": seed,
    }
    return dataset


def _agreement(trained: xr.Dataset, seed: int) -> xr.Dataset:
    """All pairs of ablations, and each ablation with the mean of the others (``consensus``)."""
    film = trained["influence"].drop_vars(["source_layer", "target_layer"])
    layers = np.asarray(trained["source_layer"].values)
    found = film_agreement(film, film.rename(ablation="other_ablation"), layers, seed=seed)
    apart = found["ablation"] != found["other_ablation"]
    each = found["agreement"].where(apart).mean(["other_ablation", "task"], skipna=True)
    return found.assign(
        _with_interval(each, "consensus", "agreement with the other ablations", seed)
    )


def _reliability(trained: xr.Dataset, seed: int) -> xr.Dataset:
    kept = trained[["split_half", "over_draws"]]
    found = kept.copy()
    for name in ("split_half", "over_draws"):
        over = kept[name].mean("task", keep_attrs=True)
        found = found.assign(_with_interval(over, name, str(kept[name].attrs["long_name"]), seed))
    return found


def _cost(trained: xr.Dataset) -> xr.Dataset:
    found = trained[["seconds", "token_layers"]].copy()
    known = YARDSTICK in trained["ablation"].values
    for name, total in (
        ("seconds", found["seconds"].sum(["task", "checkpoint"])),
        ("token_layers", found["token_layers"].sum("task", min_count=1)),
    ):
        yardstick = total.sel(ablation=YARDSTICK, drop=True) if known else np.nan
        found[f"relative_{name}"] = (total / yardstick).assign_attrs(
            units="1", long_name=f"{name.replace('_', ' ')} relative to {YARDSTICK}"
        )
    return found


def _with_interval(
    values: xr.DataArray, name: str, what: str, seed: int
) -> dict[str, xr.DataArray]:
    """Return mean and interval over checkpoints, as ``name_mean``, ``name_low``, ``name_high``."""
    order = [dim for dim in values.dims if dim != "checkpoint"]
    rows = values.transpose(*order, "checkpoint")
    bounds = np.apply_along_axis(
        lambda row: np.array(block_interval(row, seed=seed)), -1, rows.values
    )
    empty = rows.isel(checkpoint=0, drop=True)
    return {
        f"{name}_{end}": empty.copy(data=bounds[..., index]).assign_attrs(
            units="1", long_name=f"{what}: {words}"
        )
        for index, (end, words) in enumerate(
            [
                ("mean", "mean over checkpoints"),
                ("low", "lower end of the 95 % block bootstrap interval"),
                ("high", "upper end of the 95 % block bootstrap interval"),
            ]
        )
    }
