"""The dataset: one table of every dimension, coordinate and variable, and the check against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from cntbench.errors import StorageError

#: Rises whenever the table changes.
SCHEMA_VERSION = 2

DIMENSIONS = ("task", "ablation", "readout", "checkpoint", "source", "target")

Type = Literal["float", "integer", "text"]
_KINDS: Mapping[Type, str] = {"float": "f", "integer": "iu", "text": "OUST"}

STATUS = ("ok", "missing", "duplicate", "failed")


@dataclass(frozen=True)
class Variable:
    """One variable or coordinate of the dataset.

    Parameters
    ----------
    dims
        Names of its dimensions, in order.
    type
        Type of its values.
    doc
        What it is; the attribute ``long_name``.
    units
        UDUNITS name; ``"1"`` for numbers without a unit, None for labels.
    lower, upper
        Range of its values, both ends allowed. NaN is always allowed.
    values
        Allowed values of a label, if they are enumerated.
    optional
        Whether it may be missing.
    """

    dims: tuple[str, ...]
    type: Type
    doc: str
    units: str | None = None
    lower: float = -np.inf
    upper: float = np.inf
    values: tuple[str, ...] = ()
    optional: bool = False

    @property
    def attributes(self) -> dict[str, str]:
        """Attributes that the variable carries in the file."""
        return {"long_name": self.doc} | ({"units": self.units} if self.units else {})


_CELL = ("task", "ablation", "checkpoint")
_EDGE = (*_CELL, "source", "target")


def _component(side: str) -> dict[str, Variable]:
    return {
        side: Variable((side,), "text", f"{side} component, in causal order"),
        f"{side}_layer": Variable((side,), "integer", f"layer of the {side}", lower=0),
        f"{side}_kind": Variable((side,), "text", f"kind of the {side}", values=("head", "MLP")),
        f"{side}_head": Variable(
            (side,), "integer", f"head index of the {side} in its layer, -1 for an MLP", lower=-1
        ),
    }


COORDINATES: Mapping[str, Variable] = {
    "task": Variable(("task",), "text", "task"),
    "ablation": Variable(("ablation",), "text", "ablation method"),
    "readout": Variable(("readout",), "text", "readout of the model's behaviour"),
    "readout_unit": Variable(("readout",), "text", "unit of the readout"),
    "checkpoint": Variable(("checkpoint",), "text", "checkpoint, as its source names it"),
    "step": Variable(("checkpoint",), "integer", "training step", lower=0),
    "tokens_seen": Variable(
        ("checkpoint",), "integer", "training tokens up to the checkpoint", lower=0, optional=True
    ),
    "revision": Variable(("checkpoint",), "text", "SHA-256 of the checkpoint's tensors"),
    **_component("source"),
    **_component("target"),
}

VARIABLES: Mapping[str, Variable] = {
    "influence": Variable(
        _EDGE,
        "float",
        "causal influence of source on target, mean over prompts; NaN where not feasible; for an "
        "ablation that observes the readout, the absolute value of edge_effect",
        units="1",
        lower=0,
    ),
    "influence_se": Variable(
        _EDGE, "float", "standard error of influence over prompts", units="1", lower=0
    ),
    "readout_value": Variable(
        ("task", "readout", "checkpoint"),
        "float",
        "readout of the clean model, mean over prompts, in readout_unit",
        units="1",
    ),
    "readout_se": Variable(
        ("task", "readout", "checkpoint"),
        "float",
        "standard error of readout_value over prompts",
        units="1",
        lower=0,
    ),
    "readout_effect": Variable(
        ("task", "ablation", "readout", "checkpoint", "source"),
        "float",
        "change of the readout when the source is ablated: ablated minus clean, in readout_unit; "
        "with direct scope, over the edge from the source to the unembedding alone; NaN where the "
        "task does not ask for it",
        units="1",
    ),
    "readout_effect_se": Variable(
        ("task", "ablation", "readout", "checkpoint", "source"),
        "float",
        "standard error of readout_effect over prompts",
        units="1",
        lower=0,
    ),
    "edge_effect": Variable(
        _EDGE,
        "float",
        "change of the first readout among the task's effects through the edge, or its estimate: "
        "ablated minus clean, in that readout's unit; NaN where not feasible, and for ablations "
        "that observe targets",
        units="1",
    ),
    "edge_effect_se": Variable(
        _EDGE, "float", "standard error of edge_effect over prompts", units="1", lower=0
    ),
    "prefix_matching": Variable(
        ("task", "checkpoint", "source"),
        "float",
        "attention of the head to what followed earlier occurrences of the present token; NaN for "
        "MLPs and where no token occurs twice",
        units="1",
        lower=0,
        upper=1,
    ),
    "previous_token": Variable(
        ("task", "checkpoint", "source"),
        "float",
        "attention of the head to the previous token; NaN for MLPs",
        units="1",
        lower=0,
        upper=1,
    ),
    "status": Variable(_CELL, "text", "what became of the cell", values=STATUS),
    "status_reason": Variable(_CELL, "text", "why the status is not ok, else empty"),
}

#: Rounding that a range allows for, relative to its ends.
_SLACK = 1e-5


def validate(dataset: xr.Dataset, *, where: str) -> None:
    """Check a dataset against the table.

    Raises
    ------
    StorageError
        Naming the first variable that is missing, unknown, or has the wrong dimensions, type,
        units or range.
    """
    table = {**COORDINATES, **VARIABLES}
    present = {str(name) for name in dataset.variables}
    for name in present - set(table):
        raise StorageError(f"variable {name!r} is not in the schema", where=where)
    for name, expected in table.items():
        if name in present:
            _validate(name, dataset.variables[name], expected, where)
        elif not expected.optional:
            raise StorageError(f"variable {name!r} is missing", where=where)
    if not (np.diff(dataset["step"].values) > 0).all():
        raise StorageError("variable 'step' does not rise", where=where)


def _validate(name: str, variable: xr.Variable, expected: Variable, where: str) -> None:
    def problem(aspect: str, found: object, allowed: object) -> StorageError:
        return StorageError(
            f"variable {name!r} has {aspect} {found}", where=where, hint=f"Expected: {allowed}."
        )

    if variable.dims != expected.dims:
        raise problem("dims", _listed(map(str, variable.dims)), _listed(expected.dims))
    if variable.dtype.kind not in _KINDS[expected.type]:
        raise problem("dtype", variable.dtype, expected.type)
    if variable.attrs.get("units") != expected.units:
        raise problem("units", variable.attrs.get("units"), expected.units)
    values = variable.values
    if expected.values:
        for value in {str(v) for v in values.flat} - set(expected.values):
            raise problem("value", repr(value), _listed(expected.values))
    if expected.type == "float":
        slack = _SLACK * max(abs(end) for end in (expected.lower, expected.upper, 0.0))
        slack = slack if np.isfinite(slack) else 0.0
        defined = values[~np.isnan(values)]
        if np.isinf(defined).any():
            raise problem("value", "infinity", "finite numbers or NaN")
        outside = defined[(defined < expected.lower - slack) | (defined > expected.upper + slack)]
    elif expected.type == "integer":
        outside = values[(values < expected.lower) | (values > expected.upper)]
    else:
        return
    if outside.size:
        raise problem("value", outside[0], f"{expected.lower:g} to {expected.upper:g}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
