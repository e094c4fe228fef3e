"""The page's tables and curves of circuits, if the result has the group ``faithfulness``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from cntbench.errors import listed
from cntbench.reporting.wording import interval, number


def circuits_section(tree: xr.DataTree) -> dict[str, Any] | None:
    """Return the page's section on circuits, or None if none were measured.

    ``tables`` and ``curves`` are those of each task with circuits. A picture of curves has panels
    for each ranking: circuits, and complements. Budgets are in percent; a circuit of no budget is
    not drawn. None stands for what was not measured.
    """
    if "faithfulness" not in tree.children:
        return None
    dataset = tree.children["faithfulness"].to_dataset(inherit=True)
    tasks = [dataset.isel(task=number) for number in range(dataset.sizes["task"])]
    measured = [task for task in tasks if task["faithfulness"].notnull().any()]
    return {
        "tables": [_table(task) for task in measured],
        "curves": [_curves(task) for task in measured],
        "checkpoint": str(dataset.attrs.get("checkpoint", "")),
        "patched_by": _patched_by(dataset, measured),
    }


def _patched_by(dataset: xr.Dataset, tasks: Sequence[xr.Dataset]) -> str:
    """Say what patches the edges outside circuits, by task if tasks differ."""
    known = {str(t["task"].item()): str(t["patch"].item()) for t in tasks if "patch" in t}
    if len({*known.values()}) > 1:
        return listed(f"{patch} on {task}" for task, patch in known.items())
    return str(dataset.attrs.get("patched_by", ""))


def _curves(task: xr.Dataset) -> dict[str, Any]:
    task = task.isel(budget=np.isfinite(task["budget"].values))
    rankings = [str(name) for name in task["ranking"].values]
    values = [task["faithfulness"].sel(ranking=name).values for name in rankings]
    same = all(np.array_equal(values[0], other, equal_nan=True) for other in values)
    return {
        "share": (100 * task["budget"].values).tolist(),
        "ablation": [str(name) for name in task["ablation"].values],
        "panel": [
            {
                "title": f"{what}, edges by {'' if same else f'{ranking} '}score",
                "random": _random(task.sel(ranking=ranking)) if name == "faithfulness" else None,
                "line": [
                    {
                        key: finite(row[variable].sel(ranking=ranking).values)
                        for key, variable in (
                            ("value", name),
                            ("low", f"{name}_lower"),
                            ("high", f"{name}_upper"),
                        )
                        if variable in row
                    }
                    for row in (task.isel(ablation=i) for i in range(task.sizes["ablation"]))
                ],
            }
            for ranking in (rankings[:1] if same else rankings)
            for name, what in (
                ("faithfulness", "circuit"),
                ("complement_faithfulness", "complement"),
            )
        ],
    }


def _random(row: xr.Dataset) -> dict[str, list[float | None]] | None:
    """Return the range of the random circuits of all methods; None if there are none."""
    random = row["random_faithfulness"]
    if not random.size:
        return None
    ends = {"low": random.min(["ablation", "draw"]), "high": random.max(["ablation", "draw"])}
    return {name: finite(end.values) for name, end in ends.items()}


def finite(values: ArrayLike) -> list[float | None]:
    """Return numbers; None for those that are not finite, which JSON lacks."""
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values)]


def _table(dataset: xr.Dataset) -> dict[str, Any]:
    shares = dataset["budget"].values
    return {
        "task": str(dataset["task"].item()),
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
