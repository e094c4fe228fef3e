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


@dataclasses.dataclass(frozen=True)
class Contract:
    """What a function promises.

    Parameters
    ----------
    arguments
        Names of the arguments with which it is called.
    wrong
        Returns what is wrong with a result, or None, given the file's module and the arguments.
    inputs
        Returns the tensors and arrays that are used again, so that the function must not change
        them, given the file's module and the arguments.
    base
        Of a method of ``Parameters``: the class of the room's ``_base`` that it must extend, or
        empty if it may be any. None for a function of the file.
    """

    arguments: tuple[str, ...]
    wrong: Callable[..., str | None] | None = None
    inputs: Callable[..., tuple[Any, ...]] = lambda *_, **__: ()
    base: str | None = None


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
    "SIGNED": (lambda value: isinstance(value, bool), "True or False"),
    "SUFFIXES": (_strings, 'a tuple of texts, such as (".npz",)'),
    "KIND": (lambda value: hasattr(value, "recognises"), "a cntbench.files.output.FileKind"),
}


def guard(module: ModuleType, room: str) -> None:
    """Check a file of a room, and have the results of its functions checked.

    Names that the file lacks are left to discovery. Raises a `PluginError` if a function cannot be
    called as it will be, or a constant is something else.

    Parameters
    ----------
    module
        The file's module; its functions are replaced.
    room
        Its room, such as ``"metrics"``.
    """
    for name, (allowed, what) in CONSTANTS.items():
        if hasattr(module, name) and not allowed(getattr(module, name)):
            raise PluginError(f"{name} is {getattr(module, name)!r}; it has to be {what}")
    for name, contract in CONTRACTS.get(room, {}).items():
        function = getattr(module, name, None)
        if contract.base is not None:
            _guard_parameters(name, contract, room, module)
        elif inspect.isfunction(function):
            keywords = getattr(getattr(module, "METRIC", None), "needs", ())
            if not hasattr(module, "VARIANTS"):
                _check_call(function, contract.arguments, keywords if name == "compute" else ())
            setattr(module, name, _checked(function, contract, module))


def _guard_parameters(name: str, contract: Contract, room: str, module: ModuleType) -> None:
    """Guard a method of the class ``Parameters`` of a file as `guard` does the file."""
    parameters: Any = getattr(module, "Parameters", None)
    if getattr(parameters, "__module__", None) != module.__name__:
        return  # a class of another file is not changed
    if base := contract.base:
        where = f"cntbench.{room}._base"
        if not issubclass(parameters, getattr(importlib.import_module(where), base)):
            raise PluginError(f"Parameters has to be a {where}.{base}: class Parameters({base})")
    if "__dataclass_fields__" not in vars(parameters) or not dataclasses.is_dataclass(parameters):
        raise PluginError("Parameters has to be decorated by cntbench.specs.spec: @spec")
    method = vars(parameters).get(name, getattr(parameters, name, None))
    lacking = sorted(getattr(parameters, "__abstractmethods__", ()))
    arguments = ("self", *contract.arguments)
    if not inspect.isfunction(method) or lacking:
        names = ", ".join(lacking or [f"{name}({', '.join(arguments)})"])
        raise PluginError(f"Parameters lacks {names}")
    _check_call(method, arguments, ())
    setattr(parameters, name, _checked(method, contract, module))


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


def _checked(
    function: Callable[..., Any], contract: Contract, module: ModuleType
) -> Callable[..., Any]:
    """Return a function whose results are checked."""
    if hasattr(function, "__wrapped__"):
        return function

    find_wrong, name = contract.wrong, function.__name__
    location = f"{function.__code__.co_filename}, line {function.__code__.co_firstlineno}"

    def yielding(results: Iterator[Any], before: list[tuple[Any, Any]]) -> Iterator[Any]:
        with _without_exit(name, location):
            yield from results
        refuse(_change(before))

    def refuse(wrong: str | None) -> None:
        if wrong:
            raise PluginError(f"{name} returns {wrong}", where=location)

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        inputs = contract.inputs(module, *args, **kwargs)
        real = [x for x in inputs if not getattr(x, "is_meta", not isinstance(x, np.ndarray))]
        before = [(x.copy() if isinstance(x, np.ndarray) else x.clone(), x) for x in real]
        with _without_exit(name, location):
            result = function(*args, **kwargs)
        if find_wrong is None and isinstance(result, Iterator):
            return yielding(result, before)
        wrong = find_wrong(result, module, *args, **kwargs) if find_wrong else None
        refuse(_change(before) or wrong)
        return result

    return checked


@contextmanager
def _without_exit(name: str, location: str) -> Iterator[None]:
    """Turn an exit, which would end a command as if it were done, into an error of the file."""
    try:
        yield
    except SystemExit as error:
        raise PluginError(f"{name} exits Python: {error!r}", where=location) from error


#: Rounding error that a range allows.
_SLACK = 1e-5


def _change(pairs: list[tuple[Any, Any]]) -> str | None:
    """Return what is wrong if a tensor or an array differs from its copy."""
    if any(_changed(*pair) for pair in pairs):
        return "after changing its input; write to a copy: x.clone(), of NumPy arrays x.copy()"
    return None


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
    if hasattr(result, "is_meta") and result.dtype != states.clean.dtype:
        return f"{result.dtype}; it has to be the type of states.clean, here {states.clean.dtype}"
    dims = "the shape of states.clean, prompt × position × component × width"
    return _of_tensor(result, dims, shape, states.clean)


def _of_measure(result: Any, module: ModuleType, clean: Any, ablated: Any) -> str | None:
    *before, _, components, _ = ablated.shape
    wrong = _of_tensor(result, "run × prompt × component", (*before, components), clean, ablated)
    if wrong or result.is_meta or not result.numel():
        return wrong
    lowest, highest = module.RANGE
    least, most = float(result.min()), float(result.max())
    if least < lowest - _SLACK or most > highest + _SLACK:
        return f"numbers from {least:g} to {most:g}; by RANGE they are {lowest:g} to {highest:g}"
    return None


def _of_value(result: Any, module: ModuleType, at: Any) -> str | None:
    if wrong := _not_a("a torch tensor", result, "is_meta"):
        return wrong
    prompts, scored = at.targets.shape[:2]
    shape = tuple(result.shape)
    if len(shape) != 3 or shape[1:] != (prompts, scored):
        return (
            f"the shape {shape}; it has to be run × prompt × scored, here (…, {prompts}, {scored})"
        )
    if result.is_meta or result.isfinite().all() or not at.log_odds.isfinite().all():
        return None
    return "NaN or infinity for finite logits"


def _like(kind: str, *attributes: str) -> Callable[..., str | None]:
    """Return the check that a result, the first argument, has attributes."""
    return lambda result, *_, **__: _not_a(kind, result, *attributes)


_not_an_array = _like("a NumPy array", "shape", "dtype")


def _of_array(result: Any, dims: str, shape: tuple[int, ...]) -> str | None:
    if wrong := _not_an_array(result):
        return wrong
    if tuple(result.shape) != shape:
        return f"the shape {tuple(result.shape)}; it has to be {dims}, here {shape}"
    return None


def _of_compute(result: Any, module: ModuleType, weights: Any, **_: Any) -> str | None:
    per = module.METRIC.per
    if hasattr(module, "VARIANTS"):
        return _not_an_array(result)
    if per == "graph":
        return _of_array(result, "one number for each graph", weights.shape[:-2])
    if per in ("source", "target", "component"):
        return _of_array(result, f"one number for each {per} of each graph", weights.shape[:-1])
    return _not_an_array(result)


def _of_draw(
    result: Any, module: ModuleType, film: Any, rng: object, size: int | None = None
) -> str | None:
    if size is None:
        wrong = _of_array(result, "the shape of film.weights", film.weights.shape)
    else:
        wrong = _not_an_array(result) or _of_draws(result.shape, (size, *film.weights.shape))
    if wrong:
        return wrong
    if not np.isnan(result[..., np.isnan(film.weights).all(axis=0)]).all():
        return "weights of edges that are NaN throughout film.weights: not feasible, they stay NaN"
    return None


def _of_draws(shape: tuple[int, ...], expected: tuple[int, ...]) -> str | None:
    if len(shape) == len(expected) and (shape[0], *shape[2:]) == (expected[0], *expected[2:]):
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
    if (result & np.isnan(weights)).any():
        return "true for edges that are NaN: they are not feasible or were not measured"
    return None


def _of_series(result: Any, module: ModuleType, rule: object, film: Any) -> str | None:
    if wrong := _not_an_array(result):
        return wrong
    if result.ndim != 1 or not result.size or result.dtype.kind not in "biuf":
        return (
            f"the shape {result.shape} of {result.dtype}; it has to be a number for each of some "
            "moments, or raise cntbench.dynamics.film.Undefined"
        )
    return None


def _of_write_file(result: Any, module: ModuleType, tree: object, path: Any) -> str | None:
    return None if path.is_file() else f"without having written {path.name}"


def _numbers_read(module: ModuleType, at: Any) -> tuple[Any, ...]:
    read = [name for name in ("log_odds", "best_other") if name in module.READS]
    return (at.targets, at.decoys, *(getattr(at, name) for name in read))


def _shared(module: ModuleType, edges: Any) -> tuple[Any, ...]:
    """Return what later estimates and other ablations use as well."""
    return (edges.changes, *edges.perturbations.streams)


def _arrays(module: ModuleType, weights: Any, **needs: Any) -> tuple[Any, ...]:
    return (weights, *(need for need in needs.values() if isinstance(need, np.ndarray)))


#: What the functions of files, and the methods of their ``Parameters``, promise, by room.
CONTRACTS: Mapping[str, Mapping[str, Contract]] = {
    "ablations.measures": {
        "measure": Contract(("clean", "ablated"), _of_measure, lambda module, *tensors: tensors)
    },
    "ablations.replacements": {
        "replace": Contract(
            ("states",), _of_replace, lambda module, rule, states: (states.clean,), "Replacement"
        )
    },
    "readouts": {"value": Contract(("at",), _of_value, _numbers_read)},
    "estimators": {"estimate": Contract(("edges",), None, _shared)},
    "metrics": {"compute": Contract(("weights",), _of_compute, _arrays)},
    "metrics.backbones": {
        "keep": Contract(("weights",), _of_keep, lambda module, rule, weights: (weights,), "")
    },
    "dynamics.nulls": {
        "draw": Contract(
            ("film", "rng", "size"), _of_draw, lambda module, film, *_, **__: (film.weights,)
        )
    },
    "dynamics.statistics": {
        "series": Contract(
            ("film",), _of_series, lambda module, rule, film: (film.weights,), "Statistic"
        )
    },
    "prompts.generators": {
        "make": Contract(
            ("language", "rng"), _like("a cntbench.prompts.Prompt", "tokens", "scored"), base=""
        )
    },
    "figures": {
        "of_result": Contract(("results", "chosen"), _like("a matplotlib figure", "savefig"))
    },
    "exchange.formats": {
        "write_file": Contract(("tree", "path"), _of_write_file),
        "files": Contract(("tree", "folder")),
        "write_folder": Contract(
            ("tree", "folder"), _like("the list of files that it has written", "__iter__")
        ),
    },
}
