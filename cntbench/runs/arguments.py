"""What the functions for Python users share: checked arguments, and libraries as they expect them.

A wrong type is an error; options of the command line in an error are written as arguments.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import xarray as xr

from cntbench.errors import CntbenchError, nearest, shown

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
#: A command, which stays as it is; or an option, its value, and the argument that it is in Python.
_OPTION = re.compile(
    r"cntbench [a-z]+ [^.]*|(?:--([a-z-]+)|-(o)\b)(?:=(\S*\w))?"
    r"(?: \((?:in Python, )?\w+=\w*\))?"
)


def plain(value: Any) -> Any:
    """Return a number or text of NumPy, torch or xarray as one of Python; others as they are."""
    return value.item() if getattr(value, "shape", None) == () else value


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that checks arguments of plain types, such as ``str | None``.

    Those of other types, such as results and sequences, are left to the function. Its errors name
    arguments, not options of the command line. It does not compute by what the caller has set in
    torch and NumPy (see `cntbench.models.device.default_settings`).
    """
    signature = inspect.signature(function, eval_str=True)
    where = f"cntbench.{function.__name__}"
    types = {name: _types(p.annotation) for name, p in signature.parameters.items()}
    for kind in types.pop("changes", ()):
        keys = get_type_hints(get_args(kind)[0])
        types |= {name: _types(key) for name, key in keys.items()}
    names = types.keys()

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # whose own error names the function
        for name in sorted(bound.arguments.get("changes", {}).keys() - names):
            what = f"unknown argument {name!r}"
            raise CntbenchError(what, where=where, hint=nearest(name, names))
        for name, value in bound.arguments.items():
            if name in types and types[name] <= _WORDS.keys():
                bound.arguments[name] = _checked(name, plain(value), types[name], where)
        try:
            with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"), _torch():
                return function(*bound.args, **bound.kwargs)
        except CntbenchError as error:
            error.what = with_arguments(error.what, names)
            error.hint = error.hint and with_arguments(error.hint, names)
            for name, value in (bound.arguments | bound.arguments.get("changes", {})).items():
                listed = isinstance(value, str) and "," in value and value in error.what
                if listed and Sequence[str] in types[name]:
                    error.hint = f"Write several names as a list: {name}={re.split(', *', value)}."
            error.args = (str(error),)
            raise

    return checked


def _torch() -> AbstractContextManager[None]:
    if "torch" not in sys.modules:  # nothing can have been set
        return nullcontext()
    from cntbench.models.device import default_settings

    return default_settings()


def with_arguments(text: str, names: Iterable[str]) -> str:
    """Return the text of an error with arguments of these names in place of the options.

    Examples
    --------
    >>> with_arguments("Write --trajectory=nano, or use --jobs, and -o.", ["trajectory", "jobs"])
    'Write trajectory="nano", or use jobs=, and -o.'
    """

    def argument(option: re.Match[str]) -> str:
        name = "output" if option[2] else (option[1] or "").replace("-", "_")
        if name not in names:
            return option[0]
        value = f'"{option[3]}"' if option[3] else "True" if name == "force" else ""
        return f"{name}={value}"

    return _OPTION.sub(argument, text)


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
