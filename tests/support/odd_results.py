"""Result files whose checksum is right and whose content is odd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from cntbench.results import netcdf
from cntbench.results.storage import CHECKSUM, load_netcdf
from cntbench.results.tree import checksum

Groups = dict[str, xr.Dataset]
Edit = Callable[[Groups], None]


def groups_of(tree: xr.DataTree) -> Groups:
    """Copies of a result's groups, by path, to be edited."""
    return {node.path: node.to_dataset(inherit=False).copy(deep=True) for node in tree.subtree}


def write_groups(groups: Groups, path: Path, *, seal: bool = True) -> Path:
    """Write groups as they are, unchecked, with a checksum of what is then read."""
    netcdf.write_groups(groups, path, mark="written_by_a_test")
    if seal:
        valid = checksum(load_netcdf(path, hint=""))
        with netCDF4.Dataset(path, "a") as file:
            file.setncattr(CHECKSUM, valid)
    return path


def attribute(name: str, value: Any, group: str = "/", variable: str | None = None) -> Edit:
    """Set an attribute."""

    def edit(groups: Groups) -> None:
        (groups[group][variable] if variable else groups[group]).attrs[name] = value

    return edit


def selected(**at: Any) -> Edit:
    """Keep a part of the root, and no group."""

    def edit(groups: Groups) -> None:
        root = groups["/"].isel(at)
        groups.clear()
        groups["/"] = root

    return edit


def named(dim: str, names: Callable[[list[str]], list[str]]) -> Edit:
    """Call what stands along a dim of the root by other names."""

    def edit(groups: Groups) -> None:
        old = groups["/"][dim]
        new = np.array(names([str(name) for name in old.values]), dtype=object)
        groups["/"] = groups["/"].assign_coords({dim: (dim, new, old.attrs)})

    return edit


def dropped(group: str, variable: str) -> Edit:
    """Leave a variable out."""

    def edit(groups: Groups) -> None:
        groups[group] = groups[group].drop_vars(variable)

    return edit


def replaced(group: str, variable: str, change: Callable[[xr.DataArray], Any]) -> Edit:
    """Put something else in a variable's place."""

    def edit(groups: Groups) -> None:
        changed = change(groups[group][variable])
        groups[group] = groups[group].drop_vars(variable)
        groups[group][variable] = changed

    return edit


def flat(values: xr.DataArray) -> tuple[str, Any]:
    """All values along one dim of their own."""
    return "flat", values.values.ravel()


def as_text(values: xr.DataArray) -> tuple[Any, Any]:
    """Values as text."""
    return values.dims, values.values.astype(str).astype(object)


def scalar(values: xr.DataArray) -> tuple[Any, Any]:
    """One number."""
    return (), 0.5


def as_numbers(values: xr.DataArray) -> tuple[Any, Any]:
    """Numbers where there was text."""
    return values.dims, np.zeros(values.shape)


def emptied(group: str) -> Edit:
    """Leave a group without variables."""

    def edit(groups: Groups) -> None:
        groups[group] = xr.Dataset(attrs=groups[group].attrs)

    return edit


def _sources_only(groups: Groups) -> None:
    groups["/"] = groups["/"].isel(source=slice(1, None))


#: By what is odd about the root. The file is refused.
ROOTS: dict[str, Edit] = {
    **{
        f"no {dim}": selected(**{dim: slice(0)})
        for dim in ("task", "ablation", "readout", "checkpoint")
    },
    "no component": selected(source=slice(0), target=slice(0)),
    "one readout": selected(readout=[1]),
    "fewer sources than targets": _sources_only,
    "other sources than targets": selected(source=[0, 1, 2], target=[3, 4, 5]),
    "components out of order": selected(source=[1, 0], target=[1, 0]),
    "checkpoints out of order": selected(checkpoint=[1, 0]),
    "a component twice": selected(source=[0, 0, 1], target=[0, 0, 1]),
    "a task twice": named("task", lambda names: [names[0]] * len(names)),
    "a checkpoint twice": named("checkpoint", lambda names: [names[0]] * len(names)),
    "a task without a name": named("task", lambda names: ["", *names[1:]]),
    "other names of sources": named("source", lambda names: names[::-1]),
    "a newer schema": attribute("schema_version", 99),
    "a schema_version of text": attribute("schema_version", "2"),
    "a seed of text": attribute("seed", "seven"),
    "a seed below 0": attribute("seed", -1),
    "several seeds": attribute("seed", [1, 2]),
    "prompts of text": attribute("prompts", "many"),
    "a source of numbers": attribute("source", [1.0, 2.0]),
    "a history of numbers": attribute("history", 3),
    "an empty spec": attribute("spec", ""),
    "a broken spec": attribute("spec", "{"),
    "a spec that nests deeply": attribute("spec", "[" * 100_000),
    "a spec that is a list": attribute("spec", "[]"),
    "a spec without keys": attribute("spec", "{}"),
    "a spec with other keys": attribute(
        "spec", '{"tasks": 1, "ablations": [], "prompts": 1, "seed": 0, "tokenizer": ""}'
    ),
    "a broken study_spec": attribute("study_spec", "{'a': 1}"),
    "library_versions that are a list": attribute("library_versions", "[1]"),
    "no influence": dropped("/", "influence"),
    "flat influence": replaced("/", "influence", flat),
    "influence of text": replaced("/", "influence", as_text),
    "status of numbers": replaced("/", "status", as_numbers),
    "a variable more": lambda groups: groups["/"].update({"more": ("task", np.zeros(2))}),
}


def _short(groups: Groups) -> None:
    groups["/metrics"] = groups["/metrics"].isel(checkpoint=slice(2))


def _other_tasks(groups: Groups) -> None:
    groups["/claims"] = groups["/claims"].assign_coords(task=["x", "y"])


#: Variables that readers rely on, by group: the first is a number, the second text if there is one.
OF_GROUPS = {
    "/metrics": ("gini", "component"),
    "/nulls": ("gini", "statistic"),
    "/roles": ("spreader_rank",),
    "/phases": ("count", "phase_name"),
    "/claims": ("p_value", "verdict"),
    "/comparison": ("auroc", "what"),
}


def _of_groups() -> Iterator[tuple[str, str, Edit]]:
    for group, (number, *texts) in OF_GROUPS.items():
        name = group[1:]
        yield f"{name}: empty", group, emptied(group)
        yield f"{name}: flat", group, replaced(group, number, flat)
        yield f"{name}: text", group, replaced(group, number, as_text)
        yield f"{name}: scalar", group, replaced(group, number, scalar)
        for text in texts:
            yield f"{name}: numbers for text", group, replaced(group, text, as_numbers)
        if name != "metrics":  # any metric may be missing
            lacking = number if name in ("roles", "phases", "claims") else texts[-1]
            yield f"{name}: lacking", group, dropped(group, lacking)


def _many_phases(groups: Groups) -> None:
    groups["/phases"]["count"][:] = 4


def _undecided(groups: Groups) -> None:
    groups["/claims"]["decisive"][:] = np.nan


def _no_claim(groups: Groups) -> None:
    groups["/claims"] = groups["/claims"].isel(claim=slice(0))


def _other_words(groups: Groups) -> None:
    groups["/claims"]["verdict"][:] = "true"


#: What is odd about a group, which one, and how. The group is left out.
GROUPS: dict[str, tuple[str, Edit]] = {
    **{name: (group, edit) for name, group, edit in _of_groups()},
    "metrics: fewer checkpoints": ("/metrics", _short),
    "nulls: draws of text": ("/nulls", attribute("draws", "many", "/nulls", "gini")),
    "phases: more than boundaries": ("/phases", _many_phases),
    "claims: of other tasks": ("/claims", _other_tasks),
    "claims: undecided": ("/claims", _undecided),
    "claims: none": ("/claims", _no_claim),
    "claims: other verdicts": ("/claims", _other_words),
    "comparison: broken left_out": ("/comparison", attribute("left_out", "{", "/comparison")),
}
