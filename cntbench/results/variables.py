"""Schemas of variables, attributes and groups, and the checks against them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.errors import StorageError

Type = Literal["float", "integer", "number", "text"]
_KINDS: Mapping[Type, str] = {"float": "f", "integer": "iu", "number": "fiu", "text": "OUST"}

#: Rounding error that a range allows, relative to its ends.
_SLACK = 1e-5


@dataclass(frozen=True)
class Variable:
    """One variable or coordinate of the dataset.

    Parameters
    ----------
    dims, type
        Its dimensions in order, and the type of its values.
    doc
        What it is: its attribute ``comment``, or ``long_name`` if it has no shorter one.
    units
        UDUNITS name; ``"1"`` for dimensionless numbers, None for labels.
    lower, upper
        Closed range of its values. NaN is always allowed.
    values
        Allowed labels; empty for any.
    optional, infinite
        Whether it may be missing, and whether a number may be infinite.
    long_name
        What plots call it.
    """

    dims: tuple[str, ...]
    type: Type
    doc: str
    units: str | None = None
    lower: float = -np.inf
    upper: float = np.inf
    values: tuple[str, ...] = ()
    optional: bool = False
    infinite: bool = False
    long_name: str = ""

    @property
    def attributes(self) -> dict[str, str]:
        """Its attributes in the file."""
        about = {"long_name": self.long_name, "comment": self.doc}
        units = {"units": self.units} if self.units else {}
        return (about if self.long_name else {"long_name": self.doc}) | units


@dataclass(frozen=True)
class Attribute:
    """One attribute of the dataset, which may always be missing.

    Parameters
    ----------
    type
        Of its value; ``"JSON"`` is text that holds an object.
    lower
        Smallest integer that is allowed.
    keys, objects
        Required keys of a JSON object: with any value, and with an object as value.
    """

    type: Literal["integer", "text", "JSON"]
    lower: int = 0
    keys: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """The schema of one group.

    Parameters
    ----------
    variables
        By name.
    named
        Allowed dims of further variables, whose names are free; empty if there are none.
    free
        Whether any other variable is allowed.
    names
        Dims with distinct, non-empty labels.
    attributes, about
        Attributes of the group, and of each variable.
    check
        Raises an error for what the tables cannot express; takes the group and its place.
    """

    variables: Mapping[str, Variable]
    named: tuple[tuple[str, ...], ...] = ()
    free: bool = False
    names: tuple[str, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    about: Mapping[str, Attribute] = field(default_factory=dict)
    check: Callable[[xr.Dataset, str], None] | None = None


def validate_variables(dataset: xr.Dataset, table: Mapping[str, Variable], where: str) -> None:
    """Raise a `StorageError` that names the first variable missing or not as in a table."""
    for name, expected in table.items():
        if name in dataset.variables:
            _validate_form(name, dataset.variables[name], expected, where)
            _validate_values(name, dataset.variables[name].values, expected, where)
        elif not expected.optional:
            raise StorageError(f"variable {name!r} is missing", where=where)


def validate_names(dataset: xr.Dataset, dim: str, where: str) -> None:
    """Raise a `StorageError` unless the labels of a dim are distinct and not empty."""
    counts = Counter(str(name) for name in dataset[dim].values)
    if not counts:
        raise StorageError(f"has no {dim}", where=where)
    if "" in counts:
        raise StorageError(f"has a {dim} without a name", where=where)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise StorageError(f"has the {dim} {name[:60]!r} twice", where=where)


def validate_attributes(
    dataset: xr.Dataset | xr.DataArray, table: Mapping[str, Attribute], where: str
) -> None:
    """Raise a `StorageError` that names the first attribute whose value a table forbids."""
    for name, expected in table.items():
        if name not in dataset.attrs:
            continue
        value = dataset.attrs[name]
        fault = _fault(value, expected)
        if fault:
            raise StorageError(
                f"attribute {name!r} {fault}", where=where, hint=f"It is {str(value)[:60]!r}."
            )


def _fault(value: object, expected: Attribute) -> str:
    """Return what is wrong with an attribute's value, or an empty text."""
    if expected.type == "integer":
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            return "is not a whole number"
        return "" if int(value) >= expected.lower else f"is less than {expected.lower}"
    if not isinstance(value, str):
        return "is not text"
    if expected.type == "text":
        return ""
    try:
        content = json.loads(value)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(content, dict):
        return "is not a JSON object"
    for key in (*expected.keys, *expected.objects):
        if key not in content:
            return f"lacks the key {key!r}"
        if key in expected.objects and not isinstance(content[key], dict):
            return f"has no JSON object as {key!r}"
    return ""


def _validate_form(name: str, variable: xr.Variable, expected: Variable, where: str) -> None:
    if variable.dims != expected.dims:
        dims = _listed(map(str, variable.dims))
        raise problem(name, "dims", dims, _listed(expected.dims), where)
    if variable.dtype.kind not in _KINDS[expected.type]:
        raise problem(name, "dtype", variable.dtype, expected.type, where)


def _validate_values(name: str, values: NDArray[Any], expected: Variable, where: str) -> None:
    if expected.type == "text":
        objects = values.flat if values.dtype.kind == "O" else ()
        for value in (item for item in objects if not isinstance(item, str)):
            raise problem(name, "value", value, "text", where)  # such as NaN of a merge
        for value in {str(v) for v in values.flat} - set(expected.values or map(str, values.flat)):
            raise problem(name, "value", repr(value), _listed(expected.values), where)
        return
    numbers = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    if np.isinf(numbers).any() and not expected.infinite:
        raise problem(name, "value", "infinity", "finite numbers or NaN", where)
    slack = _SLACK * max(abs(end) for end in (expected.lower, expected.upper, 0.0))
    slack = slack if np.isfinite(slack) and expected.type == "float" else 0.0
    outside = numbers[(numbers < expected.lower - slack) | (numbers > expected.upper + slack)]
    if outside.size:
        allowed = f"{expected.lower:g} to {expected.upper:g}"
        raise problem(name, "value", outside[0], allowed, where)


def problem(name: str, aspect: str, value: object, allowed: object, where: str) -> StorageError:
    """Return the error that an aspect of a variable is not the allowed one."""
    return StorageError(
        f"variable {name!r} has {aspect} {str(value)[:80]}",
        where=where,
        hint=f"Expected: {allowed}.",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
