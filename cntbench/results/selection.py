"""Which part of a result is meant: results with all dims of the schema, and labels of one cell."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.errors import CntbenchError, StorageError
from cntbench.results.schema import COORDINATES, VARIABLES

#: Dims of a cell.
CELL = ("task", "ablation", "checkpoint")
#: Labels that messages list in full.
_LISTED = 24


def with_schema_dims(dataset: xr.Dataset, needed: Sequence[str]) -> xr.Dataset:
    """Return some variables of a result, or of a part of one, with the schema's dims.

    Parameters
    ----------
    dataset
        A result's root, or what has been selected from it. A dim may have become one label, and
        checkpoints may be indexed by step.
    needed
        Names of variables.

    Returns
    -------
    xarray.Dataset
        With dims as in `cntbench.results.schema`, and the coordinates.

    Raises
    ------
    StorageError
        If a variable or a coordinate of one is missing, or has a dim that the schema lacks.
    """
    if "step" in dataset.dims and "checkpoint" in dataset.coords:
        dataset = dataset.swap_dims(step="checkpoint")
    dims = {dim for name in needed for dim in VARIABLES[name].dims}
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
    labels = {
        name: (about.dims, dataset[name].values.reshape(-1), dataset[name].attrs)
        for name, about in COORDINATES.items()
        if dims.issuperset(about.dims) and name in dataset.coords
    }
    variables = {name: _with_all_dims(name, dataset.variables[name]) for name in needed}
    return xr.Dataset(variables, coords=labels, attrs=dataset.attrs)


def cell(
    dataset: xr.Dataset, needed: Sequence[str], labels: Mapping[str, str | None], step: int | None
) -> xr.Dataset:
    """Return one cell of a result in memory, whatever the rest of it takes.

    Parameters
    ----------
    dataset, needed
        As `whole` takes them.
    labels
        By dim of a cell, the label or None, as `place` takes it.
    step
        Training step, instead of the checkpoint's label.

    Raises
    ------
    CntbenchError
        As of `whole` and `place`.
    """
    found = with_schema_dims(dataset, needed)
    at = {
        dim: index_of(found, dim, label, step=step if dim == "checkpoint" else None)
        for dim, label in labels.items()
    }
    return found.isel(at).compute()


def _with_all_dims(name: str, variable: xr.Variable) -> xr.Variable:
    expected = VARIABLES[name].dims
    others = sorted({str(dim) for dim in variable.dims} - set(expected))
    if others:
        raise StorageError(
            f"variable {name!r} has a dim {others[0]!r}",
            where="the dataset",
            hint=f"Expected: {', '.join(expected)}.",
        )
    taken = {dim: 1 for dim in expected if dim not in variable.dims}
    full = variable.set_dims({**taken, **variable.sizes})  # type: ignore[no-untyped-call]
    return full.transpose(*expected)


def as_selected(found: xr.DataArray, dataset: xr.Dataset) -> xr.DataArray:
    """Return what was made of `whole`, with those dims only that the dataset itself has."""
    taken = {dim: 0 for dim in CELL if dim in found.dims and dim not in dataset.dims}
    if "step" in dataset.dims:
        taken.pop("checkpoint", None)
        return found.isel(taken).swap_dims(checkpoint="step")
    return found.isel(taken)


def index_of(dataset: xr.Dataset, dim: str, label: str | None, *, step: int | None = None) -> int:
    """Return where a label stands along a dim.

    Parameters
    ----------
    dataset
        As `whole` returns it.
    dim
        ``"task"``, ``"ablation"`` or ``"checkpoint"``.
    label
        May be None if there is one label only.
    step
        Training step, instead of a checkpoint's label.

    Raises
    ------
    CntbenchError
        If there is no such label, or several to choose from; it lists them.
    """
    labels = [str(name) for name in dataset[dim].values]
    if step is not None:
        if label is not None:
            raise CntbenchError(
                f"checkpoint {label!r} and step {step} are both named", hint="Name one of the two."
            )
        return _at_step(dataset["step"].values, step)
    if label is None:
        if len(labels) == 1:
            return 0
        raise CntbenchError(
            f"the dataset has {len(labels)} {dim}s" if labels else f"the dataset has no {dim}",
            hint=f"Name one{' (or its step=)' if dim == 'checkpoint' else ''}: {_list(labels)}.",
        )
    if str(label) not in labels:
        close = difflib.get_close_matches(str(label), labels, n=1)
        guess = f"Did you mean {close[0]!r}? " if close else ""
        raise CntbenchError(
            f"unknown {dim} {label!r}", hint=f"{guess}Allowed: {_list(labels) or 'none'}."
        )
    return labels.index(str(label))


def _at_step(steps: NDArray[np.integer], step: int) -> int:
    found = np.flatnonzero(steps == step)
    if not found.size:
        nearest = sorted(steps[np.argsort(abs(steps - step), kind="stable")[:2]].tolist())
        raise CntbenchError(
            f"there is no checkpoint at step {step}",
            hint=f"Nearest: {', '.join(map(str, nearest)) or 'there is none at all'}.",
        )
    return int(found[0])


def _list(labels: Sequence[str]) -> str:
    if len(labels) <= _LISTED:
        return ", ".join(labels)
    return f"{', '.join(labels[:3])}, …, {labels[-1]}"


def _missing(what: str, name: str) -> StorageError:
    return StorageError(
        f"{what} {name!r} is missing",
        where="the dataset",
        hint="The accessor cnt works on the root of a result, and on what is selected from it: "
        "cntbench.open_results reads one.",
    )
