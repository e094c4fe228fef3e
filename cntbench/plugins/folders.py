"""Folders of plug-ins outside the package: users' folders and those of installed packages.

The Python files of a folder are read when the folder is taken into use. That content is loaded,
hashed and sent to worker processes, so editing a file during a run has no effect. Files are only
loaded from the folders in use.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, wraps
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from cntbench.errors import CntbenchError, PluginError, SpecError, nearest, warn
from cntbench.files.output import file_status, is_folder, path_tuple, user_path, visible
from cntbench.plugins.contracts import guard

P = ParamSpec("P")
R = TypeVar("R")

#: Sub-folders of a folder of plug-ins, by the room to which they add.
SUBFOLDERS = {
    "prompts.generators": "generators",
    "readouts": "readouts",
    "ablations.replacements": "replacements",
    "ablations.measures": "measures",
    "estimators": "estimators",
    "metrics.backbones": "backbones",
    "metrics": "metrics",
    "dynamics.nulls": "nulls",
    "dynamics.statistics": "statistics",
    "figures": "pictures",
    "exchange.formats": "formats",
}
#: Environment variable with more folders of specs, separated as in PATH.
SPECS_VARIABLE = "CNTBENCH_SPECS"
#: Entry points with which packages announce a module whose folder has the sub-folders.
ENTRY_POINTS = f"{__package__}"
#: Package of the modules in users' folders; it exists in memory only.
PACKAGE = "cntbench_plugins"
#: Files that mark folders made by cntbench, which hold no code: runs and golden results.
_MADE_BY_CNTBENCH = ("study.json", "request.json", "results.nc", "golden.json")


@dataclass(frozen=True)
class PluginFolder:
    """The Python files of a folder at the time when it was taken into use.

    Parameters
    ----------
    path
        The folder.
    sha256
        SHA-256 of the names and contents of the files.
    package
        Name of the installed package that owns the folder; empty for a user's folder.
    files
        Contents by path within the folder, such as ``metrics/strongest.py``.
    """

    path: Path
    sha256: str
    package: str = ""
    files: Mapping[str, bytes] = field(compare=False, repr=False, default_factory=dict)

    @classmethod
    def read(cls, path: Path, package: str = "") -> PluginFolder:
        """Read the Python files of a folder; raises a `SpecError` if it holds results."""
        if not is_folder(path):
            raise not_specs(path)
        patterns = ("_*.py", *(f"{subfolder}/*.py" for subfolder in SUBFOLDERS.values()))
        files = {
            file.relative_to(path).as_posix(): _content(file)
            for file in sorted(file for pattern in patterns for file in visible(path, pattern))
            if file.name != "__init__.py"
        }
        for name in _MADE_BY_CNTBENCH:
            if files and (path / name).exists():
                raise SpecError(
                    f"holds results ({name}), from which code is never loaded",
                    where=str(path),
                    hint="Keep your plug-ins in a separate folder.",
                )
        digest = hashlib.sha256()
        for name, content in files.items():
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return _registered(path, digest.hexdigest(), package, files)

    def __reduce__(self) -> tuple[object, ...]:
        return (_registered, (self.path, self.sha256, self.package, dict(self.files)))

    @property
    def key(self) -> str:
        """Name of the folder's package in memory; a changed folder is a different package."""
        quoted = str(self.path.absolute()).replace("%", "%25").replace(".", "%2E")
        return f"{quoted}@{self.sha256[:16]}"

    def stems(self, room: str) -> list[str]:
        """Return the names of the files that add to a room."""
        paths = [path for path in map(Path, self.files) if str(path.parent) == SUBFOLDERS.get(room)]
        return [path.stem for path in paths if not path.stem.startswith("_")]

    def files_of(self, rooms: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of the files that add to rooms, and of their shared files."""
        names = {folder for room, folder in SUBFOLDERS.items() if room.startswith(tuple(rooms))}
        if any(name.partition("/")[0] in names for name in self.files):
            for name, content in self.files.items():
                if "/" not in name or name.partition("/")[0] in names:
                    yield name, content

    def file(self, room: str, stem: str) -> Path:
        """Return the path of a file."""
        return self.path / SUBFOLDERS[room] / f"{stem}.py"

    def load(self, room: str, stem: str) -> ModuleType:
        """Import a file, or raise a `PluginError` that names the file, the line and the reason."""
        parent = self.package or f"{PACKAGE}.{self.key}"
        name = f"{parent}.{SUBFOLDERS[room]}.{stem}"
        try:
            module = importlib.import_module(name)
            if self.package:  # Python itself has loaded it
                guard(module, room)
            return module
        except (Exception, SystemExit) as error:
            sys.modules.pop(name, None)
            raise _broken(self.file(room, stem), error) from None

    def source_sha256(self, room: str, stem: str) -> str:
        """Return the SHA-256 of a file and of all files in the folder that it imports."""
        imported = sorted(self._imported(f"{SUBFOLDERS[room]}/{stem}.py", set()))
        return hashlib.sha256(b"\0".join(self.files[name] for name in imported)).hexdigest()

    def _imported(self, name: str, known: set[str]) -> set[str]:
        """Add a file and all files that it imports to the known ones."""
        known.add(name)
        try:
            tree = ast.parse(self.files[name])
        except (SyntaxError, ValueError):
            return known
        package = ("", *name.split("/")[:-1])
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(package):
                parents = package[1 : len(package) - node.level + 1]
                module = [*parents, *(node.module or "").split(".")]
                for member in ([], *([alias.name] for alias in node.names)):
                    other = "/".join(part for part in (*module, *member) if part) + ".py"
                    if other in self.files and other not in known:
                        self._imported(other, known)
        return known


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", where=str(file)) from None


#: Folders whose modules can be imported, by key.
_FOLDERS: dict[str, PluginFolder] = {}


def _registered(path: Path, sha256: str, package: str, files: Mapping[str, bytes]) -> PluginFolder:
    """Return a folder whose modules can be imported, even by a worker that unpickles it."""
    folder = PluginFolder(path, sha256, package, files)
    return _FOLDERS.setdefault(folder.key, folder)


class _Loader(importlib.abc.SourceLoader):
    """Loads a file of a folder as it was read, and writes no bytecode."""

    def __init__(self, folder: PluginFolder, name: str) -> None:
        self._folder, self._name = folder, name

    def get_filename(self, fullname: str) -> str:
        return str(self._folder.path.absolute() / self._name)

    def get_data(self, path: str | bytes) -> bytes:
        return self._folder.files[self._name]

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        subfolder, _, name = self._name.rpartition("/")
        rooms = [room for room, folder_name in SUBFOLDERS.items() if folder_name == subfolder]
        if rooms and not name.startswith("_"):
            guard(module, rooms[0])


class _Finder(importlib.abc.MetaPathFinder):
    """Finds ``cntbench_plugins.FOLDER.metrics.strongest`` and the packages above it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        first, *rest = fullname.split(".")
        if first != PACKAGE:
            return None
        if not rest:
            return ModuleSpec(fullname, None, is_package=True)
        folder = _FOLDERS.get(rest[0])
        if folder is None:
            return None
        name = "/".join(rest[1:]) + ".py"
        if name in folder.files:
            loader = _Loader(folder, name)
            return importlib.util.spec_from_file_location(
                fullname, loader.get_filename(fullname), loader=loader
            )
        if len(rest) == 1 or (len(rest) == 2 and rest[1] in SUBFOLDERS.values()):
            return ModuleSpec(fullname, None, is_package=True)
        return None


sys.meta_path.append(_Finder())

_IN_USE: ContextVar[tuple[PluginFolder, ...] | None] = ContextVar("plugin_folders", default=None)


def folders_in_use() -> tuple[PluginFolder, ...]:
    """Return the folders from which plug-ins are loaded, besides the package's own rooms.

    These are the folders of installed packages, those of the environment variable, and those that
    `using` has added in this thread.
    """
    chosen = _IN_USE.get()
    return _of_environment(os.environ.get(SPECS_VARIABLE, "")) if chosen is None else chosen


@contextmanager
def using(paths: Iterable[str | Path]) -> Iterator[None]:
    """Take folders into use, besides those of packages and of the environment variable.

    Files that have changed since they were last read are reloaded. Raises a `SpecError` if there is
    no such folder.
    """
    folders = {
        folder.path.resolve(): folder
        for folder in (
            *_of_packages(),
            *(PluginFolder.read(path) for path in environment_folders() if is_folder(path)),
            *(PluginFolder.read(Path(path)) for path in paths),
        )
    }
    for folder in folders.values():
        if not folder.package:
            _warn_of_strangers(folder.path)
    with using_exactly(tuple(folder for folder in folders.values() if folder.files)):
        yield


@contextmanager
def using_exactly(folders: tuple[PluginFolder, ...]) -> Iterator[None]:
    """Take only these folders into use, such as those of another process."""
    token = _IN_USE.set(folders)
    try:
        yield
    finally:
        _IN_USE.reset(token)


def use_from_now_on(folders: tuple[PluginFolder, ...]) -> None:
    """Take only these folders into use until this thread ends."""
    _IN_USE.set(folders)


def with_specs(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that it takes the folders of its argument ``specs`` into use."""

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        specs: Any = kwargs.get("specs", ())
        with using(path_tuple(specs)):
            return function(*args, **kwargs)

    return within


def not_specs(path: Path) -> SpecError:
    """Return the error for a path that is no folder of specs."""
    return SpecError(
        "is not a folder of specs: " + ("it is a file" if file_status(path) else "no such folder"),
        where=str(path),
        hint="Name a folder with your tasks (*.toml) or subfolders such as ablations and studies.",
    )


def environment_folders() -> list[Path]:
    """Return the folders that the environment variable names."""
    return [
        user_path(part) for part in os.environ.get(SPECS_VARIABLE, "").split(os.pathsep) if part
    ]


def package_folders() -> list[Path]:
    """Return the folders of installed packages that announce plug-ins."""
    return [folder.path for folder in _of_packages()]


@cache
def _of_environment(listed: str) -> tuple[PluginFolder, ...]:
    """Return the default folders; the value of the variable is the key of the cache."""
    with using(()):
        return folders_in_use()


@cache
def _of_packages() -> tuple[PluginFolder, ...]:
    folders = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            spec = importlib.util.find_spec(point.value)
            paths = spec.submodule_search_locations if spec else ()
            folders += [PluginFolder.read(Path(path), point.value) for path in paths or ()]
            reason = "" if paths else "it is not a package" if spec else "there is no such module"
        except SpecError as error:
            reason = str(error).partition("\n")[0]
        except (Exception, SystemExit) as error:
            reason = _in_one_line(error)
        if reason:
            package = point.dist.name if point.dist else "a package"
            warn(f"plug-ins of {package} are left out: {point.name} = {point.value}: {reason}")
    return tuple(folders)


def _warn_of_strangers(path: Path) -> None:
    """Warn of a sub-folder whose Python files are not loaded, if its name looks misspelt."""
    names = [*SUBFOLDERS.values()]
    for folder in sorted(path.iterdir()):
        hint = nearest(folder.name, names)
        if folder.name not in names and hint.startswith("Did") and next(folder.glob("*.py"), None):
            warn(f"{folder}: its Python files are not loaded. {hint}")


def _broken(path: Path, error: BaseException) -> PluginError:
    """Return the error for a file that cannot be imported, with the line of the failure."""
    if isinstance(error, CntbenchError):
        where = f"{path}, {error.where}" if error.where else str(path)
        return PluginError(error.what, where=where, hint=error.hint)
    line, what = _line(path, error), _in_one_line(error)
    if isinstance(error, SyntaxError):
        what = f"SyntaxError: {error.msg}"
        path, line = Path(error.filename or path), error.lineno
    return PluginError(what, where=f"{path}, line {line}" if line else str(path))


def _line(path: Path, error: BaseException) -> int | None:
    """Return the last line of a file in the traceback of an error."""
    frames, file = traceback.walk_tb(error.__traceback__), path.absolute()
    lines = [line for frame, line in frames if Path(frame.f_code.co_filename) == file]
    return lines[-1] if lines else None


def _in_one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def failure_in_plugin(error: BaseException) -> CntbenchError | None:
    """Return the error for a failure in a user's plug-in; None for other failures."""
    theirs = (f"{PACKAGE}.", *(f"{folder.package}." for folder in _of_packages()))
    places = [
        f"{frame.f_code.co_filename}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).startswith(theirs)
    ]
    return PluginError(_in_one_line(error), where=places[-1]) if places else None
