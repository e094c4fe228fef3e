"""Mistakes in a command line, as errors of our own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from cntbench.errors import CntbenchError, nearest, shown, unknown
from cntbench.files.output import user_path
from cntbench.files.refusals import allowed
from cntbench.plugins.folders import using

#: Messages of typer about choices.
_CHOICE = re.compile(r"(?:Value error, )?'(.*)' is not one of (.*)", re.DOTALL)
_COMMAND = re.compile(r"No such command '(.*?)'\.", re.DOTALL)
_EXTRA = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((.*)\)", re.DOTALL)
#: A key of a study or a parameter of a function, in an error about an option of that name.
_KEY = re.compile(r"(?:command line|cntbench\.[a-z_]+): ([a-z_]+)(?: \(entry \d+\))?(?=:| = )")

#: What typer reads for each type of paths; it would turn "" into the current folder.
_TEXTS: dict[Any, Any] = {
    Path: str,
    Path | None: str | None,
    list[Path]: list[str],
    list[Path] | None: list[str] | None,
}


class App(typer.Typer):
    """Commands that refuse empty words and paths, and take the folders of --specs into use."""

    def command(self, *args: Any, **kwargs: Any) -> Callable[[Callable[..., None]], Any]:
        """Register a function as a command."""
        register = super().command(*args, **kwargs)
        return lambda function: register(_with_paths(function))


def _with_paths(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command to which typer gives its paths as text."""
    signature = inspect.signature(command, eval_str=True)
    parameters, paths, labels = [], set(), {}
    for name, parameter in signature.parameters.items():
        kind, *about = get_args(parameter.annotation) or [None]
        for argument in about:
            if isinstance(argument, typer.models.ArgumentInfo):
                labels[name] = (argument.metavar or name.upper()).rstrip(".")
        if kind in _TEXTS:
            labels.setdefault(name, f"--{name}")
            paths.add(name)
            parameter = parameter.replace(annotation=Annotated[_TEXTS[kind], *about])
        parameters.append(parameter)

    @wraps(command)
    def with_paths(**arguments: Any) -> None:
        for name, label in labels.items():
            argument = arguments[name]
            if "" in (argument if isinstance(argument, list) else [argument]):
                raise CntbenchError(f'{label} = "" is not allowed', hint="It must not be empty.")
            if name in paths and argument:
                arguments[name] = (
                    user_path(argument)
                    if isinstance(argument, str)
                    else [*map(user_path, argument)]
                )
        with using(arguments["specs"] or ()) if "specs" in arguments else nullcontext():
            command(**arguments)

    with_paths.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_paths


def usage_error(error: Any) -> CntbenchError:
    """Return the error for a mistake that typer has found in a command line."""
    context, param = getattr(error, "ctx", None), getattr(error, "param", None)
    path = "cntbench" if context is None else context.command_path
    options = f"For all options: {path} --help"
    if type(error).__name__ == "MissingParameter" and param is not None:
        help_text = f"{param.help} " if getattr(param, "help", None) else ""
        return CntbenchError(f"{_name(param)} is missing", hint=help_text + options)
    if param is not None:
        return _refused(error, _name(param)) or CntbenchError(
            error.message, where=_name(param), hint=options
        )
    if type(error).__name__ == "NoSuchOption" and context is not None:
        known = [name for param in context.command.params for name in param.opts]
        return unknown("option", error.option_name, [n for n in known if n.startswith("--")])
    if (command := _COMMAND.match(error.message)) and context is not None:
        return unknown("command", command[1], context.command.list_commands(context))
    if type(error).__name__ == "BadOptionUsage":
        takes = "takes no" if "not take" in error.message else "needs a"
        return CntbenchError(f"{error.option_name} {takes} value")
    if extra := _EXTRA.match(error.message):
        if context is not None and any("--results" in p.opts for p in context.command.params):
            options = f"Name each result file by --results FILE. {options}"
        return CntbenchError(f"unexpected argument {shown(extra[1])}", hint=options)
    return CntbenchError(error.format_message().removesuffix("."), hint=options)


def _name(param: Any) -> str:
    """Return an option as it is typed, or an argument as the help names it."""
    if param.param_type_name == "option":
        return str(max(param.opts, key=len))
    return str(param.metavar or param.name).rstrip(".")


def _refused(error: Any, name: str) -> CntbenchError | None:
    """Return the error for a value of the wrong type or out of range; None if it is not known."""
    if choice := _CHOICE.match(error.message):
        value, hint = choice[1], nearest(choice[1], re.findall(r"'([^']*)'", choice[2]))
    elif hasattr(error.__cause__, "errors"):  # pydantic's
        problem = error.__cause__.errors()[0]
        value, hint = str(problem["input"]), allowed(problem)
    else:
        return None
    with suppress(ValueError):
        float(value)
        return CntbenchError(f"{name} = {value} is not allowed", hint=hint)
    return CntbenchError(f"{name} = {shown(value)} is not allowed", hint=hint)


def with_options(text: str) -> str:
    """Return the text of an error with the option in place of the key of a study, or the parameter.

    Examples
    --------
    >>> with_options("command line: until_se = -1 is not allowed")
    '--until-se = -1 is not allowed'
    """
    return _KEY.sub(lambda match: f"--{match[1].replace('_', '-')}", text)
