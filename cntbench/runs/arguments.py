"""Arguments of the functions for Python users: a wrong type is an error that names the argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

import xarray as xr

from cntbench.errors import CntbenchError, shown

P = ParamSpec("P")
R = TypeVar("R")

#: What an argument of each type is called.
_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    xr.Dataset: "a dataset of xarray",
    NoneType: "None",
}
#: The smallest number that is allowed, by argument.
_LEAST = {"jobs": 1, "draws": 0, "keep_downloads": 0}


def plain(value: Any) -> Any:
    """Return a number or text of NumPy, torch or xarray as one of Python; others as they are."""
    return value.item() if getattr(value, "shape", None) == () else value


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that checks arguments of plain types, such as ``str | None``.

    Those of other types, such as results and sequences, are left to the function.
    """
    signature = inspect.signature(function, eval_str=True)
    where = f"cntbench.{function.__name__}"
    types = {name: _types(p.annotation) for name, p in signature.parameters.items()}

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            if types[name] <= _WORDS.keys():
                bound.arguments[name] = _checked(name, plain(value), types[name], where)
        return function(*bound.args, **bound.kwargs)

    return checked


def _types(annotation: Any) -> set[Any]:
    """Return the types that an annotation allows; a choice of texts is a text."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return set().union(*map(_types, get_args(annotation)))
    return {str} if origin is Literal else {annotation}


def _checked(name: str, value: Any, types: set[Any], where: str) -> Any:
    """Return an argument of one of the types; a whole number is a number, True is none."""
    allowed = (*types, *([int] if float in types else []))
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in types):
        hint = " or ".join(word for kind, word in _WORDS.items() if kind in types)
    elif isinstance(value, int) and value < _LEAST.get(name, value):
        hint = f"a whole number, at least {_LEAST[name]}"
    else:
        return value
    what = f"{name} = {shown(value)} is not allowed"
    raise CntbenchError(what, where=where, hint=f"It must be {hint}.")
