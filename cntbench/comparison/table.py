"""The comparison as one dataset: recovery, diagnostics, agreement, reliability and cost."""

from __future__ import annotations

import numpy as np
import xarray as xr

from cntbench.comparison.agreement import film_agreement, interval_over_checkpoints
from cntbench.comparison.stability import settled_at
from cntbench.files.attributes import described

#: The ablation that costs are relative to, if it is compared.
YARDSTICK = "zero"
#: Title attribute of a comparison.
TITLE = "Ablation methods compared"

#: Fill values other than NaN for ablations that a part lacks.
_FILL = {"what": "", "seeds": 0}


def comparison(
    trained: xr.Dataset | None = None,
    recovered: xr.Dataset | None = None,
    diagnosed: xr.Dataset | None = None,
) -> xr.Dataset:
    """Join the parts of a comparison of ablation methods.

    Returns
    -------
    xarray.Dataset
        All variables of the parts. The variables of diagnostics have dim ``special`` instead of
        ``circuit``. Ablations are in the order of their first mention in the parts.
    """
    parts = []
    if trained is not None:
        parts += [_agreement(trained), _reliability(trained), _cost(trained)]
        if "overlap_by_prompts" in trained:
            parts.append(_stability(trained))
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
    dataset.attrs = {"title": TITLE, "yardstick": YARDSTICK}
    return dataset


def _agreement(trained: xr.Dataset) -> xr.Dataset:
    """Return the agreement of all pairs, and of each ablation with the others (``consensus``)."""
    film = trained["influence"].drop_vars(["source_layer", "target_layer"])
    layers = np.asarray(trained["source_layer"].values)
    pairs = film_agreement(film, film.rename(ablation="other_ablation"), layers)
    distinct = pairs["ablation"] != pairs["other_ablation"]
    consensus = pairs["agreement"].where(distinct).mean(["other_ablation", "task"], skipna=True)
    return pairs.assign(
        interval_over_checkpoints(consensus, "consensus", "agreement with the other ablations")
    )


def _reliability(trained: xr.Dataset) -> xr.Dataset:
    dataset = trained[["split_half", "over_draws"]]
    for name, values in dataset.data_vars.items():
        mean = values.mean("task", keep_attrs=True)
        about = str(values.attrs.get("comment", values.attrs["long_name"]))
        dataset = dataset.assign(interval_over_checkpoints(mean, str(name), about))
    return dataset


def _stability(trained: xr.Dataset) -> xr.Dataset:
    """Return the overlap of circuits of resampled prompts, and the prompts at which it settles."""
    dataset = trained[["overlap_by_prompts"]]
    mean = dataset["overlap_by_prompts"].mean("task", keep_attrs=True)
    last = mean.isel(prompts=-1, drop=True)
    numbers = [int(n) for n in dataset["prompts"].values]
    about = f"Jaccard index of the circuits of two resamples of {numbers[-1]} prompts"
    dataset = dataset.assign(interval_over_checkpoints(last, "circuit_overlap", about))
    over_checkpoints = mean.mean("checkpoint").transpose("ablation", "prompts").values
    dataset["settled_at"] = (
        "ablation",
        [settled_at(numbers, row) for row in over_checkpoints],
        described("settled_at", "prompts from which on circuits of two resamples agree", "1"),
    )
    return dataset


def _cost(trained: xr.Dataset) -> xr.Dataset:
    dataset = trained[["seconds", "token_layers"]].copy()
    has_yardstick = YARDSTICK in trained["ablation"].values
    for name, total in (
        ("seconds", dataset["seconds"].sum(["task", "checkpoint"])),
        ("token_layers", dataset["token_layers"].sum("task", min_count=1)),
    ):
        yardstick = total.sel(ablation=YARDSTICK, drop=True) if has_yardstick else np.nan
        dataset[f"relative_{name}"] = (total / yardstick).assign_attrs(
            units="1", long_name=f"{name.replace('_', ' ')} relative to {YARDSTICK}"
        )
    return dataset
