"""Discovery of plugins, the modules of a room (generators, replacements, …), and of spec folders.

Each module of a room is one plugin, named after its file. A module with several variants of one
idea, such as a metric of outgoing and of incoming edges, lists them by name in ``VARIANTS``. Files
of the folders in use (`cntbench.plugins.folders`) are plugins, too.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from cntbench.errors import CntbenchError, Named, PluginError, SpecError, unknown, warn
from cntbench.plugins.folders import (
    SUBFOLDERS,
    PluginFolder,
    environment_folders,
    folders_in_use,
    package_folders,
)

#: The room of each kind of plugin, and what each of its files has to define.
ROOMS = {
    "generator": ("prompts.generators", ("Parameters",)),
    "readout": ("readouts", ("UNIT", "BETTER", "READS", "value", "reference")),
    "replacement": ("ablations.replacements", ("Parameters",)),
    "measure": ("ablations.measures", ("measure", "RANGE")),
    "estimator": ("estimators", ("OBSERVES", "USES", "estimate")),
    "backbone rule": ("metrics.backbones", ("Parameters", "reference")),
    "metric": ("metrics", ("METRIC", "compute", "reference")),
    "null model": ("dynamics.nulls", ("draw",)),
    "statistic": ("dynamics.statistics", ("Parameters",)),
    "picture": ("figures", ("of_result",)),
    "export format": (
        "exchange.formats",
        ("SUFFIXES", "KIND", "write_file", "files", "write_folder"),
    ),
    "adapter": ("models.adapters", ("MODEL_TYPES", "EXACT", "shape", "decoder")),
    "trajectory source": ("models.sources", ("open_trajectory",)),
}


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
    """A file of a room, or a variant in one."""

    name: str
    summary: str
    path: Path
    module: ModuleType


@cache
def discover(
    room: str, *, required: tuple[str, ...], folders: tuple[PluginFolder, ...] = ()
) -> Named[Plugin]:
    """Return all plugins in a room by name.

    Raises a `SpecError` if a module of the package has no docstring or lacks a required name, or
    two plugins have the same name.

    Parameters
    ----------
    room
        A subpackage of ``cntbench``, such as ``"prompts.generators"``.
    required
        Names that each module has to define.
    folders
        Folders outside the package. Their broken files are left out, with the reasons in
        ``broken``.
    """
    plugins: Named[Plugin] = Named()
    package = importlib.import_module(f"cntbench.{room}")
    for info in pkgutil.iter_modules(package.__path__):
        if not info.name.startswith("_") and not info.ispkg:
            file = importlib.import_module(f"{package.__name__}.{info.name}")
            where = f"cntbench/{room.replace('.', '/')}/"
            _add(plugins, _plugins(info.name, Path(str(file.__file__)), file, required, where))
    for folder in folders:
        for stem in folder.stems(room):
            path = folder.file(room, stem)
            try:
                file = folder.load(room, stem)
                _add(plugins, list(_plugins(stem, path, file, required, f"{path.parent.name}/")))
            except PluginError as error:
                _add(plugins, [Plugin(stem, "", path, ModuleType(stem))])
                del plugins[stem]
                plugins.broken[stem] = error
    return Named(dict(sorted(plugins.items())), plugins.broken)


def _plugins(
    stem: str, path: Path, file: ModuleType, required: tuple[str, ...], where: str
) -> Iterator[Plugin]:
    """Yield the plugins that a file defines; an error says what it lacks."""
    for name, module in _modules(stem, file, required):
        missing = [name for name in required if not hasattr(module, name)]
        wrong = [
            name
            for name in required
            if (name.islower() or name == "Parameters") and not callable(getattr(module, name, len))
        ]
        if wrong:
            raise PluginError(f"{wrong[0]} cannot be called", where=str(path))
        if not file.__doc__ and sys.flags.optimize > 1:
            raise CntbenchError(
                "cntbench reads docstrings, which Python drops",
                hint="Run Python without -OO, and without PYTHONOPTIMIZE=2.",
            )
        if not file.__doc__:
            missing.insert(0, "a docstring whose first line is its summary")
        if missing:
            raise PluginError(
                f"lacks {', '.join(missing)}",
                where=str(path),
                hint=f"Every file of {where} defines {', '.join(required)}; "
                "CONTRIBUTING.md shows how.",
            )
        yield Plugin(name, _docstring(module).splitlines()[0], path, module)


def _add(plugins: Named[Plugin], added: Iterable[Plugin]) -> None:
    """Add plugins; if a name is taken, the error names both files."""
    for plugin in added:
        if plugin.name in plugins:
            raise SpecError(
                f"defines {plugin.name}, as {plugins[plugin.name].path} does",
                where=str(plugin.path),
                hint="Give it another name.",
            )
        plugins[plugin.name] = plugin


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
    folder = Path(__file__).parents[1] / Path(*ROOMS[kind][0].split("."))
    names = (info.name for info in pkgutil.iter_modules([str(folder)]) if not info.ispkg)
    return tuple(sorted(name for name in names if not name.startswith("_")))


def room(kind: str) -> Named[Plugin]:
    """Return the plugins of a kind, a key of `ROOMS`, by name, with those of the folders in use."""
    folder, required = ROOMS[kind]
    return discover(folder, required=required, folders=folders_in_use())


def usable(kind: str) -> Named[Plugin]:
    """Return the plugins of `room`, with a warning for each broken file."""
    plugins = room(kind)
    for error in plugins.broken.values():
        warn(f"{error.where}: left out: {error.what}")
    return plugins


def own_sources(names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the SHA-256 of the source of plugins that lie outside the package, by file.

    A file is named as ``metrics/strongest.py``; there are none if all are the package's own.
    """
    sources = {}
    for kind, chosen in names.items():
        at = ROOMS[kind][0]
        files = {
            folder.file(at, stem): (folder, stem)
            for folder in folders_in_use()
            for stem in folder.stems(at)
        }
        for name in chosen:
            folder, stem = files.get(room(kind)[name].path, (None, ""))
            if folder is not None:
                sources[f"{SUBFOLDERS[at]}/{stem}.py"] = folder.source_sha256(at, stem)
    return dict(sorted(sources.items()))


def sources_attribute(sources: Mapping[str, str]) -> dict[str, str]:
    """Return the result of `own_sources` as an attribute of a dataset; none if it is empty."""
    return {"plugins": json.dumps(sources, sort_keys=True)} if sources else {}


def find(kind: str, name: str, *, where: str | None = None) -> ModuleType:
    """Return the module of a plugin.

    Raises a `SpecError` if there is no such plugin; it suggests the nearest name. ``where`` is the
    file with the name.
    """
    plugins = room(kind)
    if name not in plugins:
        raise unknown(kind, name, plugins, where=f"{where}: {kind}" if where else None)
    return plugins[name].module


def shipped_folder() -> Path:
    """Return the folder of the shipped specs, in the installed package or in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def spec_folders() -> list[Path]:
    """Return the shipped folder, then those of packages and of the environment variable."""
    return [shipped_folder(), *package_folders(), *environment_folders()]
