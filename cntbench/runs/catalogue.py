"""The catalogue of specs: those of the package and the user's, checked together.

A folder of specs holds tasks (``*.toml``, ``controls/*.toml``), ``ablations/*.toml``,
``studies/*.toml``, ``claims/*.toml``, ``backbones/*.toml`` and planted circuits
(``planted/*.toml``). A spec is called by its file name. An invalid file stops what uses it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cntbench import plugins
from cntbench.ablations.ablation import Ablation, check
from cntbench.dynamics.claim import Claim
from cntbench.errors import CntbenchNote, Named, SpecError, distinct, nearest, unknown, warn
from cntbench.files.output import folder_exists, is_folder, user_path, visible
from cntbench.metrics.backbones._base import Backbone
from cntbench.models.planted.circuit import Circuit
from cntbench.plugins import shipped_folder, spec_folders
from cntbench.plugins.folders import PluginFolder, folders_in_use, not_specs, package_folders
from cntbench.prompts.tables import SUFFIXES, is_table
from cntbench.runs.options import StudyKeys
from cntbench.runs.tasks import Task, read_task, task_of_file, without_prose
from cntbench.specs import AblationSpec, StudySpec, as_dict, build, read_toml

FOLDERS = {
    "": "task",
    "controls": "task",
    "ablations": "ablation",
    "studies": "study",
    "backbones": "backbone",
    "claims": "claim",
    "planted": "planted circuit",
}

T = TypeVar("T")


@dataclass(frozen=True)
class AblationEntry:
    """An ablation spec with its method."""

    name: str
    path: Path
    spec: AblationSpec
    method: Ablation

    @property
    def identity(self) -> dict[str, Any]:
        """What it computes."""
        return without_prose(self.spec)


@dataclass(frozen=True)
class KnownCircuit:
    """A planted circuit, whose edges are known, and the tasks to measure it on."""

    circuit: Circuit
    tasks: tuple[Task, ...]


@dataclass(frozen=True)
class StudyEntry:
    """A study spec.

    Parameters
    ----------
    changes, origin
        Keys whose values differ from the file, and where their values come from, for errors.
    """

    name: str
    path: Path
    spec: StudySpec
    changes: tuple[str, ...] = ()
    origin: str = "command line"

    @property
    def command(self) -> str:
        """The command that runs the study."""
        words = ["cntbench", "run", self.name]
        for key in StudyKeys.__annotations__:
            if key in self.changes:
                value = getattr(self.spec, key)
                if isinstance(value, bool):
                    words.append(f"--{'' if value else 'no-'}{key}")
                    continue
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                words += [f"--{key.replace('_', '-')}", text]
        return shlex.join(words)


@dataclass(frozen=True)
class Catalogue:
    """All specs by kind and name, and the user's folders."""

    tasks: Named[Task]
    ablations: Named[AblationEntry]
    studies: Named[StudyEntry]
    planted: Named[Circuit]
    backbones: Named[Backbone]
    claims: Named[Claim]
    folders: tuple[Path, ...] = ()

    def study(self, name: str) -> StudyEntry:
        """Return a study; an error names the nearest match of an unknown name."""
        if name not in self.studies:
            error = unknown("study", name, self.studies)
            if name in self.studies.broken:
                raise error
            if name.partition(":")[0] in plugins.room("trajectory source"):
                hint = f"To measure this trajectory, write --trajectory={name}."
            elif name.endswith(".toml"):
                hint = f"A study is a file studies/{Path(name).name} in a folder: --specs=FOLDER."
            else:
                raise error
            raise SpecError(error.what, hint=f"{hint} {error.hint}")
        return self.studies[name]

    def changed_study(self, name: str, changes: Mapping[str, Any], *, where: str) -> StudyEntry:
        """Return a study by its name, with changed keys as `amend` does."""
        return self.amend(self.study(name), changes, where=where)

    def task(self, name: str) -> Task:
        """Return a task by its name, or that of a file of prompts."""
        return task_of_file(user_path(name)) if is_table(name) else self.tasks[name]

    def some_claims(self, names: Sequence[str] | None = None) -> tuple[Claim, ...]:
        """Return claims by name, by default all; an unknown name is an error."""
        if names is None:
            _warn_of_broken(self.claims)
            return tuple(self.claims.values())
        if not names:
            raise SpecError("no claims are named", hint=nearest("", self.claims))
        for name in names:
            if name not in self.claims:
                raise unknown("claim", name, self.claims)
        return tuple(self.claims[name] for name in distinct("claim", names))

    def known_circuits(self, names: Sequence[str] | None = None) -> tuple[KnownCircuit, ...]:
        """Return planted circuits by name, by default all without dynamics."""
        if names is None:
            _warn_of_broken(self.planted)
            names = [circuit.name for circuit in self.planted.values() if len(circuit.steps) == 1]
        for name in names:
            if name not in self.planted:
                raise unknown("planted circuit", name, self.planted)
        return tuple(
            KnownCircuit(circuit, tuple(self.tasks[task] for task in circuit.spec.tasks))
            for circuit in (self.planted[name] for name in distinct("planted circuit", names))
        )

    def amend(
        self, entry: StudyEntry, changes: Mapping[str, Any], *, where: str = "command line"
    ) -> StudyEntry:
        """Return a study with changed keys, checked like a file; ``where`` is their origin."""
        before = as_dict(entry.spec)
        changed = build(StudySpec, {**before, **changes}, where=where)
        after = as_dict(changed)
        differing = [key for key in {**before, **after} if after.get(key) != before.get(key)]
        keys = tuple(dict.fromkeys([*entry.changes, *differing]))
        amended = replace(entry, spec=changed, changes=keys, origin=where)
        self.check(amended, where=where)
        return amended

    def suited(self, entry: StudyEntry, refused: Iterable[tuple[str, str]]) -> StudyEntry:
        """Return a study without the ablations of refused estimators, and say which are left out.

        Takes the estimators with the reasons, as `cntbench.models.adapters._base.Shape` has them.
        """
        reasons, names = dict(refused), entry.spec.ablations
        estimators = {name: self.ablations[name].method.estimator for name in names}
        left_out = [name for name, estimator in estimators.items() if estimator in reasons]
        if not left_out:
            return entry
        named = (f"{name} ({estimators[name]} {reasons[estimators[name]]})" for name in left_out)
        warn(f"left out: {', '.join(named)}", CntbenchNote)
        remaining = tuple(name for name in names if name not in left_out)
        return replace(entry, spec=replace(entry.spec, ablations=remaining))

    def check(self, entry: StudyEntry, *, where: str) -> None:
        """Raise an error if a study names an unknown task or ablation, or the same one twice."""
        files = [name for name in entry.spec.tasks if is_table(name)]
        if files and "tasks" not in entry.changes:
            raise SpecError(
                f"task {files[0]!r} is a file of prompts",
                where=f"{where}: tasks",
                hint='Make it a task: a TOML beside it with generator = "file". Only --tasks takes '
                "files.",
            )
        tasks = [name for name in entry.spec.tasks if name not in files]
        for key, names, known in (
            ("task", tasks, self.tasks),
            ("ablation", entry.spec.ablations, self.ablations),
        ):
            for name in names:
                if name not in known:
                    error = unknown(key, name, known, where=f"{where}: {key}s")
                    if key == "task" and (Path(name).suffix or folder_exists(name)):
                        what = f"{name} is a folder" if folder_exists(name) else error.what
                        hint = f"A file of prompts ends with {', '.join(SUFFIXES)}. {error.hint}"
                        error = SpecError(what, where=error.where, hint=hint)
                    raise error
        stems = [Path(file).stem for file in files]
        hint = "A file of prompts has its name, without the suffix: rename it." if files else ""
        distinct("task", [*tasks, *stems], where=f"{where}: tasks", hint=hint)
        distinct("ablation", entry.spec.ablations, where=f"{where}: ablations")


def load_catalogue(folders: Sequence[Path] = ()) -> Catalogue:
    """Collect the specs of the package, of the environment variable, and of some folders.

    Raises a `SpecError` for a name that two files share, or a file in a folder that holds no specs.
    Invalid specs, and those that name a broken plug-in, are left out, with the reasons in
    ``broken``.
    """
    files: dict[str, dict[str, Path]] = {kind: {} for kind in FOLDERS.values()}
    for folder in [*spec_folders(), *folders]:
        for kind, path in _files(folder):
            if path.stem in files[kind]:
                raise SpecError(
                    f"{kind} {path.stem!r} already exists in {files[kind][path.stem]}",
                    where=str(path),
                    hint="Rename the file: a spec is called by its file name.",
                )
            files[kind][path.stem] = path
    catalogue = Catalogue(
        tasks=_read_all(files["task"], read_task),
        ablations=_read_all(files["ablation"], _ablation),
        studies=_read_all(files["study"], _study),
        planted=_read_all(files["planted circuit"], Circuit.read),
        backbones=_read_all(files["backbone"], Backbone.read),
        claims=_read_all(files["claim"], Claim.read),
        folders=tuple(folders),
    )
    _keep(catalogue.studies, lambda entry: catalogue.check(entry, where=str(entry.path)))
    _keep(catalogue.planted, lambda circuit: _check_tasks(circuit, catalogue.tasks))
    return catalogue


def _warn_of_broken(entries: Named[Any]) -> None:
    for error in entries.broken.values():
        warn(f"left out: {error}")


def _check_tasks(circuit: Circuit, tasks: Named[Task]) -> None:
    where = f"{circuit.path}: tasks"
    for name in distinct("task", circuit.spec.tasks, where=where):
        if name not in tasks:
            raise unknown("task", name, tasks, where=where)


def _keep(entries: Named[T], check: Callable[[T], None]) -> None:
    """Check entries, and remove those that name something missing or broken."""
    for name, entry in [*entries.items()]:
        try:
            check(entry)
        except SpecError as error:
            entries.broken[name] = error
            del entries[name]


def _files(folder: Path) -> Iterable[tuple[str, Path]]:
    if folder in package_folders():
        for subfolder, kind in FOLDERS.items():
            yield from ((kind, path) for path in visible(folder / subfolder, "*.toml"))
        return
    if not is_folder(folder):
        raise not_specs(folder)
    for path in visible(folder, "**/*.toml"):
        subfolder = path.parent.relative_to(folder).as_posix().removeprefix(".")
        if subfolder not in FOLDERS:
            raise SpecError(
                f"specs do not belong in a folder {subfolder!r}",
                where=str(path),
                hint=nearest(subfolder, [name or "the top folder" for name in FOLDERS]),
            )
        yield FOLDERS[subfolder], path


@cache
def _shipped(
    read: Callable[[Path], Any], path: Path, plugin_folders: tuple[PluginFolder, ...]
) -> Any:
    """Read a file of this package once for each choice of plug-ins, which it may name."""
    return read(path)


def _read_all(paths: Mapping[str, Path], read: Callable[[Path], T]) -> Named[T]:
    entries: Named[T] = Named()
    shipped_specs = shipped_folder()
    adding = tuple(folder for folder in folders_in_use() if folder.files)
    for name, path in sorted(paths.items()):
        try:
            shipped = path.is_relative_to(shipped_specs)
            entries[name] = _shipped(read, path, adding) if shipped else read(path)
        except SpecError as error:
            entries.broken[name] = error
    return entries


def _ablation(path: Path) -> AblationEntry:
    where = str(path)
    spec = build(AblationSpec, read_toml(path), where=where)
    rule = plugins.find("replacement", spec.replacement, where=where)
    replacement = build(rule.Parameters, spec.parameters, where=where, prefix="parameters.")
    check(spec, replacement, where=where)
    measure = None
    if spec.measure is not None:
        measure = plugins.find("measure", spec.measure, where=where).measure
    method = Ablation(
        path.stem,
        replacement,
        measure,
        scope=spec.scope,
        observable=spec.observable,
        through=spec.through,
        estimator=spec.estimator,
        steps=spec.steps,
        draws=spec.draws,
    )
    return AblationEntry(path.stem, path, spec, method)


def _study(path: Path) -> StudyEntry:
    return StudyEntry(path.stem, path, build(StudySpec, read_toml(path), where=str(path)))
