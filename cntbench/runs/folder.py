"""The folder of a run: which study it belongs to, its checkpoint files, and the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import FileLock, Timeout

from cntbench.errors import CntbenchError, StorageError
from cntbench.models.trajectory import Checkpoint, ModelRef, Untrained
from cntbench.parsing import parse_json
from cntbench.results.failure import Failure
from cntbench.results.storage import (
    UNFINISHED,
    open_sealed,
    reason,
    write_atomically,
    write_results,
    write_text,
)
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.identity import belongs, identity
from cntbench.runs.plan import Plan, differing
from cntbench.runs.shard import Shard
from cntbench.specs import as_dict

MANIFEST = "study.json"
REQUEST = "request.json"
RESULTS = "results.nc"
CHECKPOINTS = "checkpoints"
BLOCKS = "blocks"
DOWNLOADS = "downloads"
UNTRAINED = "untrained"
FAILURES = "failures"
LOCK = ".lock"

#: At most so many differences are named in an error.
_NAMED = 5
#: How long a shard waits for another one that is about to begin in the same folder [s].
_PATIENCE = 10.0


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one plan, used by a whole run or by one shard of it."""

    path: Path
    shard: Shard | None = None

    @property
    def results(self) -> Path:
        """The combined result."""
        return self.path / RESULTS

    @property
    def downloads(self) -> Path:
        """Where checkpoints lie that are downloaded for the run, until they are measured."""
        return self.path / (f"{DOWNLOADS}-{self.shard.label}" if self.shard else DOWNLOADS)

    def checkpoint_file(self, subject: ModelRef) -> Path:
        """The result of one checkpoint, or of one untrained model."""
        folder = UNTRAINED if isinstance(subject, Untrained) else CHECKPOINTS
        return self.path / folder / f"{subject.name}.nc"

    def block(self, block: SourceBlock) -> Path:
        """The result of one block of a model's sources, until all of them are joined."""
        return self._blocks(block.subject) / f"{block.number}-of-{block.of}.nc"

    def _blocks(self, subject: ModelRef) -> Path:
        path = self.checkpoint_file(subject)
        return self.path / BLOCKS / path.parent.name / path.stem

    def check(self, plan: Plan) -> Plan:
        """Compare a plan with what the folder holds. Writes nothing.

        Returns
        -------
        Plan
            The same one, at the identities of checkpoints that were recorded when the folder was
            first used: what a name of the hub stands for is resolved once.

        Raises
        ------
        CntbenchError
            If the folder holds anything but a run of this plan, or checkpoint files of other weights.
        """
        recorded = self._recorded()
        if recorded is None:
            self._check_empty(plan)
            return plan
        known = recorded.get("checkpoints", {})
        plan = plan.at(known)
        # What was unknown, or was not measured, may be another one now.
        free = {
            checkpoint.name: checkpoint.identity
            for checkpoint in plan.trajectory.checkpoints
            if checkpoint.name in known
            and not (checkpoint.identity and known[checkpoint.name] and self._has(checkpoint))
        }
        expected = {**recorded, "checkpoints": {**known, **free}}
        differences = differing(plan.identity, expected)
        if differences:
            changed = all(key.startswith("checkpoints.") for key in differences)
            raise CntbenchError(
                f"belongs to another study; different: {listed(differences, _NAMED)}",
                where=str(self.path),
                hint="Name another folder with -o, or delete this one"
                + (f" (or, in {CHECKPOINTS}, what is to be measured anew)." if changed else "."),
            )
        return plan

    def fits(self, plan: Plan) -> bool:
        """Say whether the plan can be run, or gone on with, in the folder."""
        try:
            self.check(plan)
        except CntbenchError:
            return False
        return True

    def _has(self, checkpoint: Checkpoint) -> bool:
        return self.checkpoint_file(checkpoint).is_file()

    def _recorded(self) -> dict[str, Any] | None:
        """Return the identity of the plan whose folder this is, None if it is nobody's."""
        manifest = self.path / MANIFEST
        if not manifest.exists():
            return None
        recorded = _read_json(manifest)
        if not _labels(recorded.get("checkpoints")):
            raise _damaged(manifest, "names no checkpoints")
        return recorded

    def request(self) -> dict[str, Any]:
        """Return the identity of the folder's plan, with the study's name and spec.

        Raises
        ------
        CntbenchError
            If it is not the folder of a run.
        """
        recorded = self._recorded()
        if recorded is None:
            raise CntbenchError(
                "is not the folder of a run",
                where=str(self.path),
                hint="Name folders that cntbench run has written.",
            )
        path = self.path / REQUEST
        request = _read_json(path)
        if not (isinstance(request.get("study"), str) and isinstance(request.get("spec"), dict)):
            raise _damaged(path, "names no study")
        return {**recorded, **request}

    def _check_empty(self, plan: Plan) -> None:
        """Raise an error if there are files that this plan's run has not begun with."""
        if not self.path.exists():
            return
        with suppress(StorageError):
            if _read_json(self.path / REQUEST) == _request(plan):
                return  # its record of checkpoints was deleted, as `_damaged` says
        if not self.path.is_dir():
            raise CntbenchError("is a file", where=str(self.path), hint="Name a folder with -o.")
        if any(path.is_file() and not path.name.startswith(".") for path in self.path.rglob("*")):
            raise CntbenchError(
                "is not empty, and not the folder of a run",
                where=str(self.path),
                hint="Name another folder with -o.",
            )

    @contextmanager
    def locked(self, plan: Plan) -> Iterator[Plan]:
        """Make the folder this plan's for as long as the run lasts; yields it as `check` does.

        Raises
        ------
        CntbenchError
            If it belongs to another study, is in use by another run, or cannot be written.
        """
        self.check(plan)
        with self._locked() as beginning:
            plan = self.check(plan)  # another shard may have begun in the meantime
            write_text(self.path / MANIFEST, json.dumps(self._remembering(plan), indent=1) + "\n")
            write_text(self.path / REQUEST, json.dumps(_request(plan), indent=1) + "\n")
            if self.shard is None:
                for litter in self.path.rglob(f".*{UNFINISHED}"):
                    litter.unlink(missing_ok=True)
            else:
                beginning.release()
            yield plan

    @contextmanager
    def _locked(self) -> Iterator[FileLock]:
        """Lock the folder for a whole run, or for a shard until the lock that is yielded is freed.

        A whole run excludes everything, a shard only the same shard and whole runs.
        """
        with ExitStack() as locks:
            try:
                for folder in (CHECKPOINTS, UNTRAINED):
                    (self.path / folder).mkdir(parents=True, exist_ok=True)
                whole = FileLock(self.path / LOCK, timeout=_PATIENCE if self.shard else 0)
                locks.enter_context(whole)
                if self.shard is None:
                    for path in self.path.glob(f"{LOCK}-*"):
                        with FileLock(path, timeout=0):
                            pass
                else:
                    own = FileLock(self.path / f"{LOCK}-{self.shard.label}", timeout=0)
                    locks.enter_context(own)
            except Timeout:
                raise CntbenchError(
                    "another run is using this folder",
                    where=str(self.path),
                    hint="Wait for it, or name another folder with -o.",
                ) from None
            except OSError as error:
                raise CntbenchError(
                    f"cannot be written: {reason(error)}",
                    where=str(self.path),
                    hint="Name another folder with -o.",
                ) from None
            yield whole

    def _remembering(self, plan: Plan) -> dict[str, Any]:
        """Return the plan's identity, with what was known of checkpoints that are unknown now."""
        known = (self._recorded() or {}).get("checkpoints", {})
        now = plan.identity["checkpoints"]
        return {**plan.identity, "checkpoints": {k: v or known.get(k, "") for k, v in now.items()}}

    def read_checkpoint_file(self, plan: Plan, subject: ModelRef) -> xr.Dataset | None:
        """Return a whole checkpoint file of a plan's subject, or None if it is to be measured."""
        return _of(plan, SourceBlock(subject), self.checkpoint_file(subject))

    def begin(self, subject: ModelRef) -> None:
        """Make room for a subject's blocks.

        Raises
        ------
        StorageError
            If it cannot be made.
        """
        try:
            self._blocks(subject).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot be written: {error.strerror}", where=str(self._blocks(subject))
            ) from None

    def read_block(self, plan: Plan, block: SourceBlock) -> xr.Dataset | None:
        """Return a whole block of a plan's subject, or None if it is to be measured."""
        return _of(plan, block, self.block(block))

    def write_checkpoint_file(self, plan: Plan, subject: ModelRef, dataset: xr.Dataset) -> None:
        """Keep a checkpoint file; blocks that it was joined of are not needed any more."""
        _write(plan, SourceBlock(subject), dataset, self.checkpoint_file(subject))
        shutil.rmtree(self._blocks(subject), ignore_errors=True)

    def write_block(self, plan: Plan, block: SourceBlock, dataset: xr.Dataset) -> None:
        """Keep a block; there is room for it since `begin`."""
        _write(plan, block, dataset, self.block(block))

    def adopt(self, plan: Plan, subject: ModelRef, other: RunFolder) -> bool:
        """Take over another folder's whole checkpoint file, if it has one; returns whether it has."""
        source = other.checkpoint_file(subject)
        if other.read_checkpoint_file(plan, subject) is None:
            return False
        write_atomically(self.checkpoint_file(subject), lambda path: _copy(source, path))
        return True

    def read_failure(self, plan: Plan, subject: ModelRef) -> Failure | None:
        """Return what came in the way of a subject in a shard of the run, if anything did."""
        try:
            recorded = _read_json(self._failure(subject))
            if not belongs(recorded.pop("of"), plan, SourceBlock(subject)):
                return None
            return Failure(**recorded)
        except (StorageError, LookupError, TypeError, AttributeError):
            return None

    def write_failure(self, plan: Plan, subject: ModelRef, failure: Failure | None) -> None:
        """Keep what came in the way of a subject, or that nothing did."""
        path = self._failure(subject)
        if failure is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        record = {**asdict(failure), "of": identity(plan, SourceBlock(subject))}
        write_text(path, json.dumps(record) + "\n")

    def _failure(self, subject: ModelRef) -> Path:
        return self.path / FAILURES / f"{subject.name}.json"

    def read_results(self) -> xr.DataTree | None:
        """Return the combined result of an earlier run, or None if there is no whole one."""
        return _read(self.results)


def _copy(source: Path, path: Path) -> None:
    path.write_bytes(source.read_bytes())


def _request(plan: Plan) -> dict[str, Any]:
    """Return what was asked for, as it is recorded."""
    return {"study": plan.study.name, "spec": as_dict(plan.study.spec)}


def _read_json(path: Path) -> dict[str, Any]:
    """Read a record of a run.

    Raises
    ------
    StorageError
        If it cannot be read, or is no JSON object.
    """
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except ValueError:
        raise _damaged(path, "it is no JSON") from None
    if not isinstance(record, dict):
        raise _damaged(path, "it is no JSON object")
    return record


def _labels(value: object) -> bool:
    """Say whether a value maps labels to labels."""
    return isinstance(value, dict) and all(isinstance(label, str) for label in value.values())


def _damaged(path: Path, problem: str) -> StorageError:
    return StorageError(
        f"is damaged: {problem}",
        where=str(path),
        hint="Delete this file and run the same command again: whole checkpoint files are kept.",
    )


def _write(plan: Plan, block: SourceBlock, dataset: xr.Dataset, path: Path) -> None:
    """Write a file that says what it is of."""
    write_results(xr.DataTree(dataset.assign_attrs(identity(plan, block))), path)


def _of(plan: Plan, block: SourceBlock, path: Path) -> xr.Dataset | None:
    """Return what was measured of a block, None if it is not whole or of anything else."""
    tree = _read(path)
    if tree is None:
        return None
    dataset = tree.to_dataset()
    if not belongs(dataset.attrs, plan, block):
        return None
    known = block.subject.revision if isinstance(block.subject, Checkpoint) else ""
    return dataset if known in ("", dataset["revision"].item()) else None


def _read(path: Path) -> xr.DataTree | None:
    try:
        return open_sealed(path)
    except StorageError:
        return None
