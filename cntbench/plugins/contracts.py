"""Contracts of the files in users' folders: how functions are called, and what they return.

`guard` checks a file when it is loaded, and wraps its functions so that each result is checked. A
mistake is then a `PluginError` at the function, not a failure somewhere in the engine.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from types import ModuleType
from typing import Any

import numpy as np

from cntbench.errors import PluginError

#: How the functions of files are called, and the methods of their ``Parameters``, by room.
CALLS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ablations.measures": {"measure": ("clean", "ablated")},
    "readouts": {"value": ("at",)},
    "estimators": {"estimate": ("edges",)},
    "metrics": {"compute": ("weights",)},
    "dynamics.nulls": {"draw": ("film", "rng", "size")},
    "figures": {"of_result": ("results", "chosen")},
    "exchange.formats": {
        "write_file": ("tree", "path"),
        "files": ("tree", "folder"),
        "write_folder": ("tree", "folder"),
    },
}
METHODS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ablations.replacements": ("replace", ("states",)),
    "metrics.backbones": ("keep", ("weights",)),
    "prompts.generators": ("make", ("language", "rng")),
    "dynamics.statistics": ("series", ("film",)),
}
#: Rooms whose ``Parameters`` are a class of their ``_base``.
BASES = {"ablations.replacements": "Replacement", "dynamics.statistics": "Statistic"}


#: Tensors and arrays that are used again, so that a function must not change them.
INPUTS: Mapping[str, Callable[..., tuple[Any, ...]]] = {
    "replace": lambda module, rule, states: (states.clean,),
    "measure": lambda module, clean, ablated: (clean, ablated),
    "value": lambda module, at: (
        at.targets,
        at.decoys,
        *(getattr(at, name) for name in ("log_odds", "best_other") if name in module.READS),
    ),
    "compute": lambda module, weights, **needs: (
        weights,
        *(need for need in needs.values() if isinstance(need, np.ndarray)),
    ),
    "keep": lambda module, rule, weights: (weights,),
    "draw": lambda module, film, *_, **__: (film.weights,),
    "series": lambda module, rule, film: (film.weights,),
}


def _strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _some_of(*names: str) -> tuple[Callable[[Any], bool], str]:
    """Return the test for a tuple of some names, and its text."""
    texts = ", ".join(f'"{name}"' for name in names)
    return lambda value: _strings(value) and {*value} <= {*names}, f"a tuple of some of {texts}"


#: The required form of constants.
CONSTANTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "METRIC": (lambda value: hasattr(value, "per"), "a cntbench.metrics._base.Metric"),
    "RANGE": (lambda value: isinstance(value, tuple) and len(value) == 2, "(lowest, highest)"),
    "UNIT": (lambda value: isinstance(value, str), "a text"),
    "BETTER": (lambda value: value in (1, -1), "1 or -1"),
    "READS": _some_of("logits", "log_odds", "best_other", "divergence"),
    "OBSERVES": _some_of("readout", "target"),
    "USES": _some_of("gradient", "reference", "steps", "through", "contributions"),
    "SUFFIXES": (_strings, 'a tuple of texts, such as (".npz",)'),
    "KIND": (lambda value: hasattr(value, "recognises"), "a cntbench.files.output.FileKind"),
}


def guard(module: ModuleType, room: str) -> None:
    """Check a file of a room, and have the results of its functions checked.

    Names that the file lacks are left to discovery.

    Parameters
    ----------
    module
        The file's module; its functions are replaced.
    room
        Its room, such as ``"metrics"``.

    Raises
    ------
    PluginError
        If a function cannot be called as it will be, or a constant is something else.
    """
    for name, (allowed, what) in CONSTANTS.items():
        if hasattr(module, name) and not allowed(getattr(module, name)):
            raise PluginError(f"{name} is {getattr(module, name)!r}; it has to be {what}")
    for name, arguments in CALLS.get(room, {}).items():
        function = getattr(module, name, None)
        if inspect.isfunction(function):
            keywords = getattr(getattr(module, "METRIC", None), "needs", ())
            if not hasattr(module, "VARIANTS"):
                _check_call(function, arguments, keywords if name == "compute" else ())
            setattr(module, name, _checked(function, module))
    parameters = getattr(module, "Parameters", None)
    if room in METHODS and getattr(parameters, "__module__", None) == module.__name__:
        _guard_parameters(parameters, room, module)  # a class of another file is not changed


def _guard_parameters(parameters: Any, room: str, module: ModuleType) -> None:
    """Guard the class ``Parameters`` of a file as `guard` does the file."""
    name, arguments = METHODS[room]
    if (base := BASES.get(room)) is not None:
        where = f"cntbench.{room}._base"
        if not issubclass(parameters, getattr(importlib.import_module(where), base)):
            raise PluginError(f"Parameters has to be a {where}.{base}: class Parameters({base})")
    if "__dataclass_fields__" not in vars(parameters) or not dataclasses.is_dataclass(parameters):
        raise PluginError("Parameters has to be decorated by cntbench.specs.spec: @spec")
    method = vars(parameters).get(name, getattr(parameters, name, None))
    lacking = sorted(getattr(parameters, "__abstractmethods__", ()))
    if not inspect.isfunction(method) or lacking:
        names = ", ".join(lacking or [f"{name}(self, {', '.join(arguments)})"])
        raise PluginError(f"Parameters lacks {names}")
    _check_call(method, ("self", *arguments), ())
    setattr(parameters, name, _checked(method, module))


def _check_call(
    function: Callable[..., Any], arguments: tuple[str, ...], keywords: tuple[str, ...]
) -> None:
    """Raise an error if a function cannot be called with these arguments."""
    try:
        inspect.signature(function).bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        form = ", ".join([*arguments, *(f"{name}=…" for name in keywords)])
        raise PluginError(
            f"cntbench calls {function.__name__}({form}), which the function does not allow: "
            f"{error}",
            where=f"line {function.__code__.co_firstlineno}",
        ) from None


def _checked(function: Callable[..., Any], module: ModuleType) -> Callable[..., Any]:
    """Return a function whose results are checked."""
    check = CHECKS.get(function.__name__)
    if hasattr(function, "__wrapped__"):
        return function

    inputs = INPUTS.get(function.__name__)
    location = f"{function.__code__.co_filename}, line {function.__code__.co_firstlineno}"

    @wraps(function)
    def yielding(*args: Any, **kwargs: Any) -> Any:
        with _without_exit(function.__name__, location):
            yield from function(*args, **kwargs)

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        inputs_given = () if inputs is None else inputs(module, *args, **kwargs)
        real = [x for x in inputs_given if not getattr(x, "is_meta", not isinstance(x, np.ndarray))]
        before = [_copied(item) for item in real]
        with _without_exit(function.__name__, location):
            result = function(*args, **kwargs)
        wrong = check is not None and check(result, module, *args, **kwargs)
        if any(_changed(*pair) for pair in zip(before, real, strict=True)):
            wrong = "after changing its input; write to a copy: x.clone(), of NumPy arrays x.copy()"
        if wrong:
            raise PluginError(f"{function.__name__} returns {wrong}", where=location)
        return result

    return yielding if check is None and inspect.isgeneratorfunction(function) else checked


@contextmanager
def _without_exit(name: str, location: str) -> Iterator[None]:
    """Turn an exit, which would end a command as if it were done, into an error of the file."""
    try:
        yield
    except SystemExit as error:
        raise PluginError(f"{name} exits Python: {error!r}", where=location) from error


def _copied(given: Any) -> Any:
    return given.copy() if isinstance(given, np.ndarray) else given.clone()


def _changed(before: Any, after: Any) -> bool:
    """Return whether an array, or a finite tensor, has changed."""
    if isinstance(before, np.ndarray):
        return not np.array_equal(before, after, equal_nan=True)
    return bool(before.isfinite().all()) and not before.equal(after)


def _not_a(kind: str, result: object, *attributes: str) -> str | None:
    """Return what is wrong with a result that lacks attributes."""
    if all(hasattr(result, attribute) for attribute in attributes):
        return None
    return f"{'nothing' if result is None else type(result).__name__}; it has to be {kind}"


def _of_tensor(result: Any, dims: str, shape: tuple[int, ...], *inputs: Any) -> str | None:
    """Return what is wrong with a tensor, such as NaN where no input has any."""
    if wrong := _not_a("a torch tensor", result, "is_meta"):
        return wrong
    if tuple(result.shape) != shape:
        return f"the shape {tuple(result.shape)}; it has to be {dims}, here {shape}"
    if result.is_meta or result.isfinite().all():
        return None
    if all(tensor.isfinite().all() for tensor in inputs):
        return "NaN or infinity for finite input"
    return None


def _of_replace(result: Any, module: ModuleType, rule: object, states: Any) -> str | None:
    shape = tuple(states.clean.shape)
    if hasattr(result, "is_meta"):  # dims that are the same for all may have length 1
        with suppress(RuntimeError):
            result = result.expand(shape)
    dims = "the shape of states.clean, prompt × position × component × width"
    return _of_tensor(result, dims, shape, states.clean)


def _of_measure(result: Any, module: ModuleType, clean: Any, ablated: Any) -> str | None:
    *before, _, components, _ = ablated.shape
    return _of_tensor(result, "run × prompt × component", (*before, components), clean, ablated)


def _of_value(result: Any, module: ModuleType, at: Any) -> str | None:
    if wrong := _not_a("a torch tensor", result, "is_meta"):
        return wrong
    prompts, scored = at.targets.shape[:2]
    shape = tuple(result.shape)
    if len(shape) == 3 and shape[1:] == (prompts, scored):
        return None
    return f"the shape {shape}; it has to be run × prompt × scored, here (…, {prompts}, {scored})"


def _of_array(result: Any, dims: str, shape: tuple[int, ...]) -> str | None:
    if wrong := _not_a("a NumPy array", result, "shape", "dtype"):
        return wrong
    if tuple(result.shape) != shape:
        return f"the shape {tuple(result.shape)}; it has to be {dims}, here {shape}"
    return None


def _of_compute(result: Any, module: ModuleType, weights: Any, **_: Any) -> str | None:
    per = module.METRIC.per
    if hasattr(module, "VARIANTS"):
        return _not_a("a NumPy array", result, "shape", "dtype")
    if per == "graph":
        return _of_array(result, "one number for each graph", weights.shape[:-2])
    if per in ("source", "target", "component"):
        return _of_array(result, f"one number for each {per} of each graph", weights.shape[:-1])
    return _not_a("a NumPy array", result, "shape", "dtype")


def _of_draw(
    result: Any, module: ModuleType, film: Any, rng: object, size: int | None = None
) -> str | None:
    if size is None:
        return _of_array(result, "the shape of film.weights", film.weights.shape)
    if wrong := _not_a("a NumPy array", result, "shape", "dtype"):
        return wrong
    shape, expected = result.shape, (size, *film.weights.shape)
    if len(shape) == 4 and (shape[0], *shape[2:]) == (size, *film.weights.shape[1:]):
        return None  # a null model may keep some of the checkpoints
    return (
        f"the shape {shape}; with size it has to be size × checkpoint × source × target, here "
        f"{expected}"
    )


def _of_keep(result: Any, module: ModuleType, rule: object, weights: Any) -> str | None:
    if wrong := _of_array(result, "the shape of weights", weights.shape):
        return wrong
    if result.dtype != np.bool_:
        return f"{result.dtype}; it has to be true or false for each edge"
    return None


def _of_of_result(result: Any, module: ModuleType, *_: Any) -> str | None:
    return _not_a("a matplotlib figure", result, "savefig")


def _of_write_file(result: Any, module: ModuleType, tree: object, path: Any) -> str | None:
    return None if path.is_file() else f"without having written {path.name}"


def _of_write_folder(result: Any, module: ModuleType, *_: Any) -> str | None:
    return _not_a("the list of files that it has written", result, "__iter__")


def _of_make(result: Any, module: ModuleType, *_: Any) -> str | None:
    return _not_a("a cntbench.prompts.Prompt", result, "tokens", "scored")


def _of_series(result: Any, module: ModuleType, *_: Any) -> str | None:
    return _not_a("a NumPy array", result, "shape", "dtype")


#: What is wrong with the result of a function or method, or None, by its name.
CHECKS: Mapping[str, Callable[..., str | None]] = {
    "replace": _of_replace,
    "measure": _of_measure,
    "value": _of_value,
    "compute": _of_compute,
    "draw": _of_draw,
    "keep": _of_keep,
    "of_result": _of_of_result,
    "write_file": _of_write_file,
    "write_folder": _of_write_folder,
    "make": _of_make,
    "series": _of_series,
}
