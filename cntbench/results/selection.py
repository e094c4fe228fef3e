"""Selections from a result: with all dims of the schema, or one cell by its labels."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.errors import CntbenchError, StorageError, distinct, shown
from cntbench.models.checkpoint_choice import choose, find
from cntbench.results.schema import COORDINATES, DIMENSIONS, KEPT, VARIABLES
from cntbench.results.tree import result_tree

_TABLE = {**VARIABLES, **KEPT}
#: Dims of a cell, and of a film.
CELL = ("task", "ablation", "checkpoint")
FILM = (*CELL, "source", "target")
#: Groups that follow from the influence at all checkpoints together.
DERIVED = ("metrics", "roles", "nulls", "claims", "phases")
#: Variables of which films, graphs and their labels are made.
OF_FILMS = ("influence", "influence_se", "status", "status_reason")
#: Most labels that a message lists in full.
_LISTED = 24


def with_schema_dims(dataset: xr.Dataset, needed: Sequence[str]) -> xr.Dataset:
    """Return variables of a result, or of a selection from it, with the schema's dims.

    Raises a `StorageError` if a variable or a coordinate of one is missing, or has a dim that the
    schema lacks or that has nothing in it.

    Parameters
    ----------
    dataset
        The root of a result or a selection from it: dims may be scalars, and checkpoints may be
        indexed by step.
    """
    if "step" in dataset.dims and "checkpoint" in dataset.coords:
        dataset = dataset.swap_dims(step="checkpoint")
    dims = {dim for name in needed for dim in _TABLE[name].dims}
    expected = [n for n, v in COORDINATES.items() if dims.issuperset(v.dims) and not v.optional]
    for what, names in (("variable", needed), ("coordinate", expected)):
        for name in names:
            if name not in dataset.variables:
                raise _missing(what, name)
    for dim in ("source", "target"):
        if dim in dims and dim not in dataset.dims:
            raise StorageError(
                f"has one {dim} only, {dataset[dim].item()!r}",
                where="the dataset",
                hint=f"Select several, by a list: {dim}=[…].",
            )
    for dim in FILM:
        if dim in dims and not dataset.sizes.get(dim, 1):
            raise StorageError(f"has no {dim}", where="the dataset", hint="Select at least one.")
    labels = {
        name: (about.dims, dataset[name].values.reshape(-1), dataset[name].attrs)
        for name, about in COORDINATES.items()
        if dims.issuperset(about.dims) and name in dataset.coords
    }
    variables = {name: _with_all_dims(name, dataset.variables[name]) for name in needed}
    return xr.Dataset(variables, coords=labels, attrs=dataset.attrs)


def check_square(dataset: xr.Dataset) -> None:
    """Raise a `StorageError` unless the sources of a dataset are its targets."""
    sources, targets = ([str(n) for n in dataset[d].values] for d in ("source", "target"))
    if sources != targets:
        raise StorageError(
            "has different sources and targets, but this needs whole graphs",
            where="the dataset",
            hint="Select the same components on both sides, or select afterwards.",
        )


def component_attributes(root: xr.Dataset, side: str = "source") -> list[dict[str, int | str]]:
    """Return layer, kind, and the index of the head or expert of each component."""
    kinds = root[f"{side}_kind"].values
    attributes: list[dict[str, int | str]] = [
        {"layer": int(layer), "kind": str(kind)}
        for layer, kind in zip(root[f"{side}_layer"].values, kinds, strict=True)
    ]
    for name in ("head", "expert"):
        if f"{side}_{name}" in root.coords:
            for about, number in zip(attributes, root[f"{side}_{name}"].values, strict=True):
                about |= {name: int(number)} if number >= 0 else {}
    return attributes


def with_dims(dataset: xr.Dataset) -> xr.Dataset:
    """Return a film, or a selection from one by labels or steps, with all dims of the schema.

    In the schema's order, and with an index of every dim. Missing variables stay missing. Errors
    are those of `with_schema_dims`.
    """
    dims = {*DIMENSIONS, *(kept.dims[-1] for kept in KEPT.values())}
    indexed = all(dim in dataset.indexes for dim in dims if dim in dataset.coords)
    if indexed and not any(
        {*variable.dims} == {*_TABLE[str(name)].dims} and variable.dims != _TABLE[str(name)].dims
        for name, variable in dataset.data_vars.items()
        if name in _TABLE
    ):
        return dataset
    try:
        return with_schema_dims(dataset, [name for name in _TABLE if name in dataset.variables])
    except (ValueError, KeyError) as error:
        raise StorageError(
            f"has other dims than the schema: {error}", where="the dataset"
        ) from None


def whole_tree(results: xr.Dataset | xr.DataTree) -> xr.DataTree:
    """Return a result, a film, or a selection from either, as a tree with the schema's dims.

    What is derived of a single checkpoint is left out: most says how checkpoints differ. Errors are
    those of `with_schema_dims`, also for anything else.
    """
    if isinstance(results, xr.Dataset):
        return xr.DataTree(with_dims(results))
    if not isinstance(results, xr.DataTree):
        raise StorageError(
            f"is not a result but a {type(results).__name__}",
            where="the dataset",
            hint="Pass what cntbench.run, film or open_results returns, or a selection from it.",
        )
    if results.parent is not None:  # such as one of several seeds; its groups begin at "/" then
        results = results.copy(deep=False)
    groups = {group.path: group.to_dataset(inherit=False) for group in results.subtree}
    restored = whole_groups(groups)
    return results if restored["/"] is groups["/"] else result_tree(restored)


def whole_groups(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the groups of a result, or of a selection from one, as `whole_tree` does."""
    root = groups["/"]
    film = with_dims(root)
    if film is root:
        return dict(groups)
    scalars = {dim for dim in CELL if dim in root.coords and dim not in root.dims}
    restored = {
        name: _restored(name.strip("/"), group, scalars)
        for name, group in groups.items()
        if name != "/" and not ("checkpoint" in scalars and name.strip("/") in DERIVED)
    }
    return {"/": film, **restored}


def _restored(name: str, group: xr.Dataset, scalars: set[str]) -> xr.Dataset:
    """Return a derived group with the dims that were selected from it, if it has a schema."""
    from cntbench.results.group_schema import GROUPS  # imports more than films need

    schema = GROUPS.get(name)
    if schema is None:
        return group
    group = group.drop_vars(scalars, errors="ignore")
    variables = {}
    for variable, values in group.data_vars.items():
        known = schema.variables.get(str(variable))
        allowed = schema.named if known is None else (known.dims,)
        dims = next(
            (
                dims
                for dims in allowed
                if {*values.dims} <= {*dims} and {*dims} - {*values.dims} == scalars & {*dims}
            ),
            values.dims,
        )
        added = {dim: 1 for dim in dims if dim not in values.dims}
        full = values.variable.set_dims({**added, **values.sizes})  # type: ignore[no-untyped-call]
        variables[variable] = full.transpose(*dims)
    return xr.Dataset(variables, coords=group.coords, attrs=group.attrs)


def cell(
    dataset: xr.Dataset, needed: Sequence[str], labels: Mapping[str, str | None], step: int | None
) -> xr.Dataset:
    """Load one cell of a result into memory, and nothing else of it.

    Parameters and errors are those of `with_schema_dims` and `index_of`; ``labels`` maps dims of a
    cell to labels.
    """
    full = with_schema_dims(dataset, needed)
    at = {
        dim: index_of(full, dim, label, step=step if dim == "checkpoint" else None)
        for dim, label in labels.items()
    }
    return full.isel(at).compute()


def _with_all_dims(name: str, variable: xr.Variable) -> xr.Variable:
    expected = _TABLE[name].dims
    unknown = sorted({str(dim) for dim in variable.dims} - set(expected))
    if unknown:
        raise StorageError(
            f"variable {name!r} has a dim {unknown[0]!r}",
            where="the dataset",
            hint=f"Expected: {', '.join(expected)}.",
        )
    scalars = {dim: 1 for dim in expected if dim not in variable.dims}
    full = variable.set_dims({**scalars, **variable.sizes})  # type: ignore[no-untyped-call]
    return full.transpose(*expected)


def as_selected(values: xr.DataArray, dataset: xr.Dataset) -> xr.DataArray:
    """Drop the dims of values that `with_schema_dims` has added to those of a dataset."""
    scalars = {dim: 0 for dim in CELL if dim in values.dims and dim not in dataset.dims}
    if "step" in dataset.dims:
        scalars.pop("checkpoint", None)
        return values.isel(scalars).swap_dims(checkpoint="step")
    return values.isel(scalars)


def index_of(dataset: xr.Dataset, dim: str, label: str | None, *, step: int | None = None) -> int:
    """Return the index of a label along a dim.

    Raises a `CntbenchError` if the label does not exist, or none is named and there are several; it
    lists them.

    Parameters
    ----------
    dataset
        With the schema's dims.
    dim
        ``"task"``, ``"ablation"``, ``"checkpoint"`` or ``"readout"``.
    label
        May be None if the dim has one label. For a checkpoint, its name or any text with its step:
        ``1200``, ``step1200``, ``checkpoint-1200``.
    step
        Training step, in place of a checkpoint's label.
    """
    labels = labels_of(dataset, dim)
    if step is not None:
        if label is not None:
            raise CntbenchError(
                f"checkpoint {label!r} and step {step} are both named", hint="Name one of the two."
            )
        if not isinstance(step, int | np.integer) or isinstance(step, bool):
            raise CntbenchError(
                f"step = {shown(step)} is not allowed",
                hint='A step is a whole number; checkpoint="step1200" takes names, too.',
            )
        return _at_step(dataset["step"].values, step)
    if label is None:
        if len(labels) == 1:
            return 0
        raise CntbenchError(
            f"the dataset has {len(labels)} {dim}s" if labels else f"the dataset has no {dim}",
            hint=f"Name one{' (or its step=)' if dim == 'checkpoint' else ''}: {_list(labels)}.",
        )
    if dim == "checkpoint":
        at_step = find(str(label), labels, dataset["step"].values.tolist())
        if at_step is not None:
            return at_step
        if str(label).isdecimal():
            return _at_step(dataset["step"].values, int(label))
    if str(label) not in labels:
        close = difflib.get_close_matches(str(label), labels, n=1)
        guess = f"Did you mean {close[0]!r}? " if close else ""
        raise CntbenchError(
            f"unknown {dim} {label!r}", hint=f"{guess}Allowed: {_list(labels) or 'none'}."
        )
    return labels.index(str(label))


def labels_of(dataset: xr.Dataset, dim: str) -> list[str]:
    """Return the labels along a dim."""
    return [str(name) for name in dataset[dim].values]


def indices_of(dataset: xr.Dataset, dim: str, labels: Sequence[str]) -> list[int]:
    """Return the indices of labels along a dim, in their order.

    Labels of checkpoints may also be ranges and numbers, in ascending order; see
    `cntbench.models.checkpoint_choice`. Errors are those of `index_of`, or that a label is
    repeated.
    """
    distinct(dim, labels)
    names = labels_of(dataset, dim)
    if dim == "checkpoint" and any({*":="} & {*label} for label in {*labels} - {*names}):
        return choose(",".join(labels), names, dataset["step"].values.tolist())
    indices = [index_of(dataset, dim, label) for label in labels]
    distinct(dim, [str(dataset[dim].values[index]) for index in indices])
    return indices


def _at_step(steps: NDArray[np.integer], step: int) -> int:
    indices = np.flatnonzero(steps == step)
    if not indices.size:
        nearest = sorted(steps[np.argsort(abs(steps - step), kind="stable")[:2]].tolist())
        raise CntbenchError(
            f"there is no checkpoint at step {step}",
            hint=f"Nearest: {', '.join(map(str, nearest)) or 'there is none at all'}.",
        )
    return int(indices[0])


def _list(labels: Sequence[str]) -> str:
    if len(labels) <= _LISTED:
        return ", ".join(labels)
    return f"{', '.join(labels[:3])}, …, {labels[-1]}"


def _missing(what: str, name: str) -> StorageError:
    return StorageError(
        f"{what} {name!r} is missing",
        where="the dataset",
        hint="The accessor cnt works on the root of a result and on selections from it; read a "
        "result with cntbench.open_results.",
    )
