"""The page's tables of circuits, if the result has the group ``faithfulness``."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from cntbench.reporting.wording import interval, number

#: The section's id and title.
SECTION = ("circuits", "Circuits")


def circuits_section(tree: xr.DataTree) -> dict[str, Any] | None:
    """Return what the page says of circuits, or None if none were measured."""
    if "faithfulness" not in tree.children:
        return None
    dataset = tree.children["faithfulness"].to_dataset(inherit=True)
    tasks = [str(name) for name in dataset["task"].values]
    tables = [_table(dataset.sel(task=name), name) for name in tasks]
    attributes = {name: str(dataset.attrs.get(name, "")) for name in ("checkpoint", "patched_by")}
    return {"tables": [table for table in tables if table["rows"]], **attributes}


def _table(dataset: xr.Dataset, task: str) -> dict[str, Any]:
    shares = dataset["budget"].values
    return {
        "task": task,
        "readout": str(dataset["observed_readout"].item()),
        "budgets": ["circuit" if np.isnan(s) else f"{100 * s:.3g} %" for s in shares],
        "rows": [
            _row(dataset.sel(ablation=ablation, ranking=ranking), f"{ablation}, {ranking}")
            for ablation in dataset["ablation"].values
            for ranking in dataset["ranking"].values
            if dataset["faithfulness"].sel(ablation=ablation, ranking=ranking).notnull().any()
        ],
    }


def _row(row: xr.Dataset, name: str) -> dict[str, Any]:
    ends = ("", "_lower", "_upper")
    areas = {area: [row[f"{area}{end}"].item() for end in ends] for area in ("cpr", "cmd")}
    random = row["random_cpr"].values
    return {
        "name": name,
        "shares": [number(value) for value in row["faithfulness"].values],
        **{area: interval(*values) for area, values in areas.items()},
        "random": number(float(random.mean())) if random.size else "–",
    }
