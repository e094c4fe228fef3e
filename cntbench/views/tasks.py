"""How the tasks of a result relate to the one of interest: variants, controls, or others."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any, Literal

import xarray as xr

from cntbench.files.output import visible
from cntbench.files.parsing import parse_json
from cntbench.plugins import spec_folders

Kind = Literal["variant", "control", "other"]


def kinds(root: xr.Dataset, task: str) -> dict[str, Kind]:
    """Return how each other task relates to a task.

    A *variant* has the same generator and differs in sizes only: a model that has learnt one should
    do the other. A *control* is a task of the folder ``controls`` that is not a variant.
    """
    specs = _specs(root)
    controls = {
        path.stem for folder in spec_folders() for path in visible(folder, "controls/*.toml")
    }
    of_task: dict[str, Kind] = {}
    for name in map(str, root["task"].values):
        if name == task:
            continue
        if _only_sizes_differ(specs.get(task), specs.get(name)):
            of_task[name] = "variant"
        else:
            of_task[name] = "control" if name in controls else "other"
    return of_task


def _specs(root: xr.Dataset) -> Mapping[str, Any]:
    try:
        specs = parse_json(str(root.attrs.get("spec", "{}")))["tasks"]
    except (ValueError, KeyError, TypeError):
        return {}
    return specs if isinstance(specs, dict) else {}


def _only_sizes_differ(first: Any, second: Any) -> bool:
    """Return whether two specs have one generator, and parameters that differ in numbers only."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return False
    generator = first.get("generator", "file")
    if generator != second.get("generator") or generator == "file":
        return False
    parameters = [spec.get("parameters") or {} for spec in (first, second)]
    return all(
        isinstance(value, Number) and not isinstance(value, bool)
        for of_one, of_other in (parameters, parameters[::-1])
        for key, value in of_one.items()
        if of_other.get(key) != value
    )
