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


def find(
    plugins: dict[str, Plugin], kind: str, name: str, *, where: str | None = None
) -> ModuleType:
    """Return the module of a plugin, or raise an error that names the nearest match."""
    if name not in plugins:
        raise unknown(kind, name, plugins, where=where)
    return plugins[name].module
