"""Golden folders: a result frozen file by file, and the study that it can be measured by again.

A folder holds one file for each task × ablation, ``TASK.ABLATION.nc``, a result of its own with its
checksum, and ``golden.json``: which files there are, by their checksums, the study's spec, and the
versions and the machine that made the numbers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import xarray as xr

from cntbench.errors import CntbenchError, StorageError
from cntbench.models.trajectory import Progress
from cntbench.output import check_files, check_folder, file_status
from cntbench.parsing import parse_json
from cntbench.results.difference import Move, golden_file, moves, only
from cntbench.results.failure import Failure
from cntbench.results.storage import (
    RESULT,
    content_checksum,
    make_folder,
    open_results,
    open_sealed,
    write_results,
    write_text,
)
from cntbench.runs.catalogue import Catalogue, StudyEntry
from cntbench.runs.folder import RunFolder
from cntbench.runs.plan import Plan, differing, make_plan
from cntbench.runs.run import put_together, run_shard
from cntbench.runs.shard import Shard
from cntbench.specs import StudySpec, build

MANIFEST = "golden.json"
#: Attributes that say what made a result, and change nothing in its numbers.
_MADE_BY = (
    "history",
    "study_spec",
    "spec",
    "spec_sha256",
    "library_versions",
    "python_version",
    "machine",
    "parity",
)
#: What of a study's identity has to be the same. Others may be what the check is to find out:
#: whether another version, or other weights, give other numbers.
_SAME = ("tasks", "ablations", "prompts", "seed", "tokenizer")
#: At most so many differences are named in an error.
_NAMED = 5


@dataclass(frozen=True)
class Golden:
    """What a golden folder holds.

    Parameters
    ----------
    folder
        Where it lies.
    films
        One for each task × ablation.
    made_by
        Attributes of the result that was frozen; empty where it had none.
    """

    folder: Path
    films: tuple[xr.Dataset, ...]
    made_by: Mapping[str, str]

    def moves(self, found: xr.Dataset) -> list[Move]:
        """Return what has moved in a result, the worst first.

        Raises
        ------
        CntbenchError
            If it has other tasks, ablations, checkpoints, components or specs.
        """
        if "spec" in self.made_by and "spec" in found.attrs:
            _check_specs(
                self.identity, _identity(str(found.attrs["spec"]), "the result: attribute spec")
            )
        moved = [
            move
            for film in self.films
            for move in moves(film, only(found, film["task"].item(), film["ablation"].item()))
        ]
        return sorted(moved, key=lambda move: -move.excess)

    def other_weights(self, found: xr.Dataset) -> list[str]:
        """Return checkpoints whose weights are not those that were frozen."""
        try:
            former = dict(parse_json(found.attrs.get("former_revisions", "{}")))
        except (ValueError, TypeError):
            former = {}
        names = self.films[0]["checkpoint"].values.tolist()
        frozen, now = (film["revision"].values.tolist() for film in (self.films[0], found))
        return [
            name
            for name, one, other in zip(names, frozen, now, strict=True)
            if one not in (other, former.get(name))
        ]

    @property
    def identity(self) -> dict[str, Any]:
        """What the frozen result's plan was.

        Raises
        ------
        StorageError
            If the folder does not say.
        """
        return _identity(self.made_by["spec"], f"{self.folder / MANIFEST}: made_by.spec")

    @property
    def values(self) -> int:
        """Number of values that are defined."""
        return sum(
            int(variable.notnull().sum())
            for film in self.films
            for variable in film.data_vars.values()
            if np.issubdtype(variable.dtype, np.floating)
        )


def freeze(results: Path, folder: Path) -> list[Path]:
    """Freeze a result's numbers; a golden folder's earlier ones are replaced.

    Parameters
    ----------
    results
        A result file.
    folder
        A golden folder, an empty one, or a new one.

    Returns
    -------
    list of Path
        The golden files.

    Raises
    ------
    CntbenchError
        If the result cannot be read, holds nothing that was measured, or is a file of the folder
        itself; or the folder holds anything else or cannot be written.
    """
    dataset = open_results(results).to_dataset(inherit=False)
    if not (dataset["status"] == "ok").any():
        raise CntbenchError("has no checkpoint that was measured", where=str(results))
    earlier = _manifest(folder)["files"] if file_status(folder / MANIFEST) else []
    strangers = {*_visible(folder)} - {MANIFEST, *earlier}
    if strangers:
        raise StorageError(
            f"is not empty, and no golden folder: it holds {', '.join(sorted(strangers)[:_NAMED])}",
            where=str(folder),
            hint="Name another folder with --to.",
        )
    own = [folder / name for name in (MANIFEST, *earlier)]
    check_files(own, RESULT, inputs=[results], force=True)
    make_folder(folder)
    stable = {key: value for key, value in dataset.attrs.items() if key not in _MADE_BY}
    files = {}
    for task, ablation in product(*(map(str, dataset[dim].values) for dim in ("task", "ablation"))):
        film = only(dataset, task, ablation)
        film.attrs = stable
        path = golden_file(folder, task, ablation)
        write_results(xr.DataTree(film), path)
        files[path.name] = content_checksum(open_sealed(path))
    made_by = {key: str(dataset.attrs[key]) for key in _MADE_BY if key in dataset.attrs}
    manifest = {"version": 1, "files": files, "made_by": made_by}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    for name in {*earlier} - {*files}:
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]


def load_golden(folder: Path) -> Golden:
    """Read a golden folder.

    Raises
    ------
    StorageError
        If it is none, or a file of it is missing, damaged, or not the one that was frozen.
    """
    manifest = _manifest(folder)
    films = []
    for name, checksum in manifest["files"].items():
        tree = open_sealed(folder / name)
        if content_checksum(tree) != checksum:
            raise StorageError(
                f"is not the file that was frozen: its checksum is another than in {MANIFEST}",
                where=str(folder / name),
                hint="Get both from where they were frozen, or freeze the result again.",
            )
        film = tree.to_dataset(inherit=False)
        if (film.sizes["task"], film.sizes["ablation"]) != (1, 1):
            raise StorageError("is not one task by one ablation", where=str(folder / name))
        films.append(film)
    return Golden(folder, tuple(films), manifest["made_by"])


def measure_again(
    golden: Golden, catalogue: Catalogue, *, jobs: int, progress: Progress
) -> tuple[xr.Dataset, Mapping[str, Failure]]:
    """Run the study that was frozen once more; nothing of it is kept.

    Returns
    -------
    xarray.Dataset
        The film.
    Mapping
        What came in the way of checkpoints that could not be measured.

    Raises
    ------
    CntbenchError
        If the study is not known, its specs are not those that were frozen, or its trajectory is
        not there.
    """
    plan = _plan(golden, catalogue, progress)
    with tempfile.TemporaryDirectory() as path:
        everything = Shard(1, 1)  # a shard is only measured, and nothing derived from it
        failed = run_shard(plan, Path(path), everything, jobs=jobs, progress=progress).failed
        folder = RunFolder(Path(path))
        datasets = {
            subject: folder.read_checkpoint_file(plan, subject) for subject in plan.subjects
        }
        found, _ = put_together(plan, datasets, failed)
    return found, failed


def _plan(golden: Golden, catalogue: Catalogue, progress: Progress) -> Plan:
    """Return the plan of the frozen study, without untrained models, which are not in the film."""
    where = str(golden.folder / MANIFEST)
    elsewhere = "Or check a result that was measured elsewhere: --results FILE."
    if not {"study_spec", "spec"} <= {*golden.made_by}:
        raise CntbenchError(
            "the frozen result was not made by cntbench run, so there is no study to run again",
            where=where,
            hint=elsewhere,
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
            hint=f"{error.hint} {elsewhere}" if error.hint else elsewhere,
        ) from None
    _check_specs(recorded, json.loads(json.dumps(plan.identity)))
    return plan.at(recorded["checkpoints"])


def _check_specs(golden: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise an error that names in what two studies' specs differ, of what both have measured."""
    mine, theirs = ({key: one[key] for key in _SAME} for one in (golden, found))
    for kind in ("tasks", "ablations"):
        both = mine[kind].keys() & theirs[kind].keys()
        for one in (mine, theirs):
            one[kind] = {name: one[kind][name] for name in both}
    differences = differing(mine, theirs)
    if differences:
        raise CntbenchError(
            f"the golden result is of another spec; different: {listed(differences, _NAMED)}",
            hint="If that is meant, freeze the new result; else use the specs of old.",
        )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = _table(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise StorageError(
            "is no golden folder" if file_status(folder) else "no such folder",
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
        and _is_texts(files)
        and _is_texts(made_by)
        and files
        and all(Path(name).name == name for name in files)
        and {*made_by} <= {*_MADE_BY}
    ):
        raise StorageError("is of another version, or was changed", where=str(path))
    return {"files": files, "made_by": made_by}


def _identity(text: str, where: str) -> dict[str, Any]:
    """Return the identity of a plan that a result or golden folder records."""
    identity = _table(text, where)
    tables = ("tasks", "ablations", "checkpoints")
    if not all(isinstance(identity.get(key), dict) for key in tables) or not (
        {*_SAME} <= {*identity} and _is_texts(identity["checkpoints"])
    ):
        raise StorageError("is not the spec of a run", where=where)
    return identity


def _table(text: str, where: str) -> dict[str, Any]:
    """Return an object that stands in a file as JSON."""
    try:
        table = parse_json(text, unique=True)
    except ValueError as error:
        raise StorageError(f"is not JSON: {error}", where=where) from None
    if not isinstance(table, dict):
        raise StorageError("is not a JSON object", where=where)
    return table


def _is_texts(table: Any) -> TypeGuard[dict[str, str]]:
    return isinstance(table, dict) and all(isinstance(text, str) for text in table.values())


def _visible(folder: Path) -> list[str]:
    """Return the names of what a folder holds, if there is one."""
    check_folder(folder)
    try:
        paths = [*folder.iterdir()] if file_status(folder) else []
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(folder)) from None
    return [path.name for path in paths if not path.name.startswith(".")]
