"""Discovery by file name: each module of a room is one generator, replacement, measure, …"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from cntbench.errors import SpecError, unknown

#: By kind of plugin, its room and what each file there has to define.
ROOMS = {
    "generator": ("generators", ("Parameters",)),
    "replacement": ("replacements", ("Parameters",)),
    "measure": ("measures", ("measure", "RANGE")),
    "backbone rule": ("backbones", ("Parameters", "reference")),
    "metric": ("metrics", ("METRIC", "compute", "reference")),
    "null model": ("dynamics.nulls", ("draw",)),
    "statistic": ("dynamics.statistics", ("Parameters",)),
    "adapter": ("models.adapters", ("MODEL_TYPES", "shape", "decoder")),
    "trajectory source": ("models.sources", ("open_trajectory",)),
}


@dataclass(frozen=True)
class Plugin:
    """One file of a room: its name is the file's, its summary the first line of the docstring."""

    name: str
    summary: str
    path: Path
    module: ModuleType


@cache
def discover(room: str, *, required: tuple[str, ...]) -> dict[str, Plugin]:
    """Find every plugin in a room.

    Parameters
    ----------
    room
        Name of a subpackage of ``cntbench``, such as ``"generators"``.
    required
        What each module has to define.

    Raises
    ------
    SpecError
        If a module lacks its docstring or something required.
    """
    package = importlib.import_module(f"cntbench.{room}")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        path = Path(str(module.__file__))
        missing = [name for name in required if not hasattr(module, name)]
        if not module.__doc__:
            missing.insert(0, "a docstring whose first line is its summary")
        if missing:
            raise SpecError(
                f"lacks {', '.join(missing)}",
                where=str(path),
                hint=f"Every file of cntbench/{room}/ defines {', '.join(required)}; "
                "CONTRIBUTING.md shows how.",
            )
        summary = inspect.cleandoc(str(module.__doc__)).splitlines()[0]
        found[info.name] = Plugin(info.name, summary, path, module)
    return found


def room(kind: str) -> dict[str, Plugin]:
    """Return the plugins of a kind, a key of `ROOMS`, by their names."""
    folder, required = ROOMS[kind]
    return discover(folder, required=required)


def find(kind: str, name: str, *, where: str | None = None) -> ModuleType:
    """Return the module of a plugin.

    Raises
    ------
    SpecError
        If there is no such plugin; it names the nearest match. ``where`` is the file that asks.
    """
    plugins = room(kind)
    if name not in plugins:
        raise unknown(kind, name, plugins, where=f"{where}: {kind}" if where else None)
    return plugins[name].module
