"""Discovery of plugins, the modules of a room (generators, replacements, …), and of spec folders.

Each module of a room is one plugin, named after its file. A module with several variants of one
idea, such as a metric of outgoing and of incoming edges, lists them by name in ``VARIANTS``.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from cntbench.errors import SpecError, unknown

#: The room of each kind of plugin, and what each of its files has to define.
ROOMS = {
    "generator": ("prompts.generators", ("Parameters",)),
    "readout": ("readouts", ("UNIT", "BETTER", "READS", "value", "reference")),
    "replacement": ("ablations.replacements", ("Parameters",)),
    "measure": ("ablations.measures", ("measure", "RANGE")),
    "backbone rule": ("backbones", ("Parameters", "reference")),
    "metric": ("metrics", ("METRIC", "compute", "reference")),
    "null model": ("dynamics.nulls", ("draw",)),
    "statistic": ("dynamics.statistics", ("Parameters",)),
    "picture": ("figures", ("of_result",)),
    "export format": (
        "exchange.formats",
        ("SUFFIXES", "KIND", "write_file", "files", "write_folder"),
    ),
    "adapter": ("models.adapters", ("MODEL_TYPES", "shape", "decoder")),
    "trajectory source": ("models.sources", ("open_trajectory",)),
}

#: Environment variable with further folders of specs, separated as in PATH.
SPECS_VARIABLE = "CNTBENCH_SPECS"


@dataclass(frozen=True)
class Variant:
    """One of several plugins that one file defines, an entry of its ``VARIANTS``.

    Parameters
    ----------
    summary
        First line of its docstring; the rest is that of the file.
    keywords
        Arguments that it passes to the file's functions.
    constants
        Constants that replace those of the file.
    """

    summary: str
    keywords: Mapping[str, Any]
    constants: Mapping[str, Any] = field(default_factory=dict)

    def module(self, name: str, shared: ModuleType, required: tuple[str, ...]) -> ModuleType:
        """Return the file's module with keywords bound and constants replaced."""
        module = ModuleType(name, self.summary + "\n" + _docstring(shared).partition("\n")[2])
        module.__dict__.update(
            {key: value for key, value in vars(shared).items() if not key.startswith("__")},
            **{
                key: partial(function, **self.keywords)
                for key, function in vars(shared).items()
                if key in required and isinstance(function, FunctionType)
            },
            **self.constants,
        )
        return module


@dataclass(frozen=True)
class Plugin:
    """A file of a room, or a variant in one.

    Parameters
    ----------
    name
        Name of the file or of the variant.
    summary
        First line of the docstring.
    path
        The file.
    module
        Its module.
    """

    name: str
    summary: str
    path: Path
    module: ModuleType


@cache
def discover(room: str, *, required: tuple[str, ...]) -> dict[str, Plugin]:
    """Return all plugins in a room by name.

    Parameters
    ----------
    room
        A subpackage of ``cntbench``, such as ``"prompts.generators"``.
    required
        Names that each module has to define.

    Raises
    ------
    SpecError
        If a module has no docstring or lacks a required name.
    """
    package = importlib.import_module(f"cntbench.{room}")
    plugins: dict[str, Plugin] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        file = importlib.import_module(f"{package.__name__}.{info.name}")
        path = Path(str(file.__file__))
        for name, module in _modules(info.name, file, required):
            missing = [name for name in required if not hasattr(module, name)]
            if not file.__doc__:
                missing.insert(0, "a docstring whose first line is its summary")
            if missing:
                raise SpecError(
                    f"lacks {', '.join(missing)}",
                    where=str(path),
                    hint=f"Every file of cntbench/{room}/ defines {', '.join(required)}; "
                    "CONTRIBUTING.md shows how.",
                )
            if name in plugins:
                raise SpecError(
                    f"defines {name}, as {plugins[name].path.name} does",
                    where=str(path),
                    hint="Give it another name.",
                )
            plugins[name] = Plugin(name, _docstring(module).splitlines()[0], path, module)
    return dict(sorted(plugins.items()))


def _modules(
    name: str, file: ModuleType, required: tuple[str, ...]
) -> Iterator[tuple[str, ModuleType]]:
    variants: Mapping[str, Variant] | None = getattr(file, "VARIANTS", None)
    if variants is None:
        yield name, file
    else:
        for name, variant in variants.items():
            yield name, variant.module(f"{file.__name__}.{name}", file, required)


def _docstring(module: ModuleType) -> str:
    return inspect.cleandoc(module.__doc__ or "")


def file_names(kind: str) -> tuple[str, ...]:
    """Return the names of the files of a kind, a key of `ROOMS`; none of them is imported."""
    folder = Path(__file__).parent / Path(*ROOMS[kind][0].split("."))
    names = (info.name for info in pkgutil.iter_modules([str(folder)]))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def room(kind: str) -> dict[str, Plugin]:
    """Return the plugins of a kind, a key of `ROOMS`, by name."""
    folder, required = ROOMS[kind]
    return discover(folder, required=required)


def find(kind: str, name: str, *, where: str | None = None) -> ModuleType:
    """Return the module of a plugin.

    Raises
    ------
    SpecError
        If there is no such plugin; it suggests the nearest name. ``where`` is the file with the
        name.
    """
    plugins = room(kind)
    if name not in plugins:
        raise unknown(kind, name, plugins, where=f"{where}: {kind}" if where else None)
    return plugins[name].module


def shipped_folder() -> Path:
    """Return the folder of the shipped specs, in the installed package or in a checkout."""
    package = Path(__file__).parent
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def spec_folders() -> list[Path]:
    """Return the shipped folder, then those in the environment variable."""
    listed = os.environ.get(SPECS_VARIABLE, "").split(os.pathsep)
    return [shipped_folder(), *(Path(part) for part in listed if part)]
