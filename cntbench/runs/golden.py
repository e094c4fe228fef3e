"""Golden folders: a frozen result, and the study to measure it again.

A folder holds one file per task × ablation, ``TASK.ABLATION.nc``, each a result with a checksum,
and ``golden.json``: the files with their checksums, the study's spec, and the versions and the
machine that computed the numbers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cntbench.errors import CntbenchError, StorageError, listed, unmeasured
from cntbench.files.output import check_files, check_folder, file_status
from cntbench.files.parsing import is_texts, parse_json
from cntbench.parallel import Progress
from cntbench.results import storage
from cntbench.results.difference import Move, golden_file, moves, only
from cntbench.results.failure import Failure
from cntbench.results.tree import content_checksum
from cntbench.runs.catalogue import Catalogue, StudyEntry
from cntbench.runs.folder import RunFolder
from cntbench.runs.identity import differing
from cntbench.runs.plan import Plan, make_plan
from cntbench.runs.run import join_checkpoints, run_shard
from cntbench.specs import StudySpec, build

MANIFEST = "golden.json"
#: Attributes of a result's provenance, which its numbers do not depend on.
_MADE_BY = (
    "history",
    "study_spec",
    "spec",
    "spec_sha256",
    "library_versions",
    "python_version",
    "machine",
    "parity",
    "plugins",
)
#: The parts of a study's identity that must agree. A check may be about the others: whether
#: another version, or other weights, give other numbers.
_SAME = ("tasks", "ablations", "prompts", "seed", "tokenizer")
#: Most differences that an error names.
_NAMED = 5


#: What a golden result has of its study, unless it was imported.
_STUDY = {"study_spec", "spec"}


@dataclass(frozen=True)
class Golden:
    """The content of a golden folder.

    Parameters
    ----------
    films
        One per task × ablation.
    made_by
        Provenance attributes of the frozen result, those that it had.
    """

    folder: Path
    films: tuple[xr.Dataset, ...]
    made_by: Mapping[str, str]

    def moves(self, result: xr.Dataset) -> list[Move]:
        """Return the values of a result that have moved, the worst first.

        Raises a `CntbenchError` if it has other tasks, ablations, checkpoints, components or specs.
        """
        if "spec" in self.made_by and "spec" in result.attrs:
            _check_specs(
                self.identity, _identity(str(result.attrs["spec"]), "the result: attribute spec")
            )
        moved = [
            move
            for film in self.films
            for move in moves(film, only(result, film["task"].item(), film["ablation"].item()))
        ]
        return sorted(moved, key=lambda move: -move.excess)

    def other_weights(self, result: xr.Dataset) -> list[str]:
        """Return the checkpoints whose weights differ from the frozen ones."""
        names = self.films[0]["checkpoint"].values.tolist()
        frozen, current = (film["revision"].values.tolist() for film in (self.films[0], result))
        return [
            name
            for name, before, after in zip(names, frozen, current, strict=True)
            if before != after
        ]

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the frozen result's plan; a `StorageError` if it was not recorded."""
        return _identity(self.made_by["spec"], f"{self.folder / MANIFEST}: made_by.spec")

    @property
    def values(self) -> int:
        """Number of defined values."""
        return sum(
            int(variable.notnull().sum())
            for film in self.films
            for variable in film.data_vars.values()
            if np.issubdtype(variable.dtype, np.floating)
        )


def freeze(results: Path, folder: Path) -> list[Path]:
    """Freeze the numbers of a result file, replacing those that a golden folder holds.

    Raises a `CntbenchError` if the result cannot be read, has no measured checkpoint, or is a file
    of the folder; or the folder holds other files or cannot be written.

    Returns
    -------
    list of Path
        The golden files.
    """
    dataset = storage.open_results(results).to_dataset(inherit=False)
    if not (dataset["status"] == "ok").any():
        raise unmeasured(str(results))
    earlier = _manifest(folder)["files"] if file_status(folder / MANIFEST) else []
    other_files = sorted({*_visible(folder)} - {MANIFEST, *earlier})
    if other_files:
        raise StorageError(
            f"is not empty, and is not a golden folder: it holds {listed(other_files, _NAMED)}",
            where=str(folder),
            hint="Name another folder with --to.",
        )
    replaced = [folder / name for name in (MANIFEST, *earlier)]
    check_files(replaced, storage.RESULT, inputs=[results], force=True)
    storage.make_folder(folder)
    stable = {key: value for key, value in dataset.attrs.items() if key not in _MADE_BY}
    files = {}
    for task, ablation in product(*(map(str, dataset[dim].values) for dim in ("task", "ablation"))):
        film = only(dataset, task, ablation)
        film.attrs = stable
        path = golden_file(folder, task, ablation)
        storage.write_results(xr.DataTree(film), path)
        files[path.name] = content_checksum(storage.open_sealed(path))
    made_by = {key: str(dataset.attrs[key]) for key in _MADE_BY if key in dataset.attrs}
    manifest = {"version": 1, "files": files, "made_by": made_by}
    storage.write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    for name in {*earlier} - {*files}:
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]


def has_study(folder: Path) -> bool:
    """Return whether the numbers of a golden folder can be measured again, not only compared."""
    return {*_manifest(folder)["made_by"]} >= _STUDY


def load_golden(folder: Path) -> Golden:
    """Read a golden folder.

    Raises a `StorageError` if it is not a golden folder, or a file is missing, damaged, or not the
    frozen one.
    """
    manifest = _manifest(folder)
    films = []
    for name, checksum in manifest["files"].items():
        hint = "Restore the file, or freeze the result again."
        tree = storage.open_sealed(folder / name, hint=hint)
        if content_checksum(tree) != checksum:
            raise StorageError(
                f"is not the frozen file: its checksum differs from that in {MANIFEST}",
                where=str(folder / name),
                hint="Restore both files, or freeze the result again.",
            )
        film = tree.to_dataset(inherit=False)
        if (film.sizes["task"], film.sizes["ablation"]) != (1, 1):
            raise StorageError("is not one task by one ablation", where=str(folder / name))
        films.append(film)
    return Golden(folder, tuple(films), manifest["made_by"])


def measure_again(
    golden: Golden, catalogue: Catalogue, *, jobs: int, progress: Progress
) -> tuple[xr.Dataset, Mapping[str, Failure]]:
    """Run the frozen study again, without keeping any file.

    Raises a `CntbenchError` if the study is unknown, its specs differ from the frozen ones, or its
    trajectory cannot be opened.

    Returns
    -------
    xarray.Dataset
        The film.
    Mapping
        Why checkpoints could not be measured, by label.
    """
    plan = _plan(golden, catalogue, progress)
    with tempfile.TemporaryDirectory() as path:
        folder = RunFolder(Path(path))
        failed = run_shard(plan, folder, jobs=jobs, progress=progress).failed
        datasets = {
            subject: folder.read_checkpoint_file(plan, subject) for subject in plan.subjects
        }
        film, _ = join_checkpoints(plan, datasets, failed)
    return film, failed


def _plan(golden: Golden, catalogue: Catalogue, progress: Progress) -> Plan:
    """Return the plan of the frozen study, without untrained models."""
    where = str(golden.folder / MANIFEST)
    alternative = "Or check a result that was measured elsewhere: --results FILE."
    if not {*golden.made_by} >= _STUDY:
        raise CntbenchError(
            "the frozen result was not made by cntbench run, so there is no study to run again",
            where=where,
            hint=alternative,
        )
    recorded = golden.identity
    spec = _table(golden.made_by["study_spec"], f"{where}: made_by.study_spec") | {"untrained": 0}
    study = StudyEntry("golden", golden.folder / MANIFEST, build(StudySpec, spec, where=where))
    try:
        catalogue.check(study, where=where)
        plan = make_plan(catalogue, study, progress)
    except CntbenchError as error:
        raise CntbenchError(
            f"the study cannot be run again: {error.what}",
            where=error.where,
            hint=f"{error.hint} {alternative}" if error.hint else alternative,
        ) from None
    _check_specs(recorded, json.loads(json.dumps(plan.identity)))
    return plan.at(recorded["checkpoints"])


def _check_specs(golden: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise an error that names the specs in which two studies differ, of those in both."""
    frozen, new = ({key: identity[key] for key in _SAME} for identity in (golden, current))
    for kind in ("tasks", "ablations"):
        common = frozen[kind].keys() & new[kind].keys()
        for identity in (frozen, new):
            identity[kind] = {name: identity[kind][name] for name in common}
    differences = differing(frozen, new)
    if differences:
        raise CntbenchError(
            "the golden result is of another spec; different: " + listed(differences, _NAMED),
            hint="If this is intended, freeze the new result; otherwise restore the old specs.",
        )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = _table(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(
            "is not a golden folder" if file_status(folder) else "no such folder",
            where=str(folder),
            hint="cntbench golden freeze RESULTS --to FOLDER makes one.",
        ) from None
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except ValueError as error:
        raise StorageError(f"is not UTF-8 text: {error}", where=str(path)) from None
    files, made_by = manifest.get("files"), manifest.get("made_by")
    if not (
        manifest.get("version") == 1
        and is_texts(files)
        and is_texts(made_by)
        and files
        and all(Path(name).name == name for name in files)
        and {*made_by} <= {*_MADE_BY}
    ):
        raise StorageError(
            "is of another version, or was changed",
            where=str(path),
            hint="Restore the file, or freeze the result again.",
        )
    return {"files": files, "made_by": made_by}


def _identity(text: str, where: str) -> dict[str, Any]:
    """Return the identity of a plan, as a result or a golden folder records it."""
    identity = _table(text, where)
    tables = ("tasks", "ablations", "checkpoints")
    if not all(isinstance(identity.get(key), dict) for key in tables) or not (
        {*_SAME} <= {*identity} and is_texts(identity["checkpoints"])
    ):
        raise StorageError("is not the spec of a run", where=where)
    return identity


def _table(text: str, where: str) -> dict[str, Any]:
    """Return the object in the JSON of a file."""
    try:
        table = parse_json(text, unique=True)
    except ValueError as error:
        raise StorageError(f"is not JSON: {error}", where=where) from None
    if not isinstance(table, dict):
        raise StorageError("is not a JSON object", where=where)
    return table


def _visible(folder: Path) -> list[str]:
    """Return the names of a folder's visible files; none if there is no folder."""
    check_folder(folder)
    try:
        paths = [*folder.iterdir()] if file_status(folder) else []
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(folder)) from None
    return [path.name for path in paths if not path.name.startswith(".")]
