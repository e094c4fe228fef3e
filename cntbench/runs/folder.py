"""The folder of a run: the study it belongs to, its checkpoint files, and the result."""

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

from cntbench.errors import CntbenchError, StorageError, listed
from cntbench.files.output import file_status
from cntbench.files.parsing import is_texts, parse_json
from cntbench.models.trajectory import Checkpoint, ModelRef, Untrained
from cntbench.results import storage
from cntbench.results.failure import Failure
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.identity import belongs, differing, identity
from cntbench.runs.plan import Plan
from cntbench.runs.shard import Shard

MANIFEST = "study.json"
REQUEST = "request.json"
RESULTS = "results.nc"
CHECKPOINTS = "checkpoints"
BLOCKS = "blocks"
DOWNLOADS = "downloads"
UNTRAINED = "untrained"
FAILURES = "failures"
LOCK = ".lock"

#: Most differences that an error names.
_NAMED = 5
#: How long a shard waits for another one that is starting in the same folder [s].
_PATIENCE = 10.0


@dataclass(frozen=True)
class RunFolder:
    """A folder of one plan, used by a whole run or by one shard."""

    path: Path
    shard: Shard | None = None

    @property
    def results(self) -> Path:
        """The combined result."""
        return self.path / RESULTS

    @property
    def downloads(self) -> Path:
        """Downloaded checkpoints that have not been measured yet."""
        return self.path / (f"{DOWNLOADS}-{self.shard.label}" if self.shard else DOWNLOADS)

    def checkpoint_file(self, subject: ModelRef) -> Path:
        """The file of one checkpoint, or of one untrained model."""
        folder = UNTRAINED if isinstance(subject, Untrained) else CHECKPOINTS
        return self.path / folder / f"{subject.name}.nc"

    def block(self, block: SourceBlock) -> Path:
        """The file of a model, or of one block of its sources until all blocks are joined."""
        if block.whole:
            return self.checkpoint_file(block.subject)
        return self._blocks(block.subject) / f"{block.number}-of-{block.of}.nc"

    def _blocks(self, subject: ModelRef) -> Path:
        path = self.checkpoint_file(subject)
        return self.path / BLOCKS / path.parent.name / path.stem

    def check(self, plan: Plan) -> Plan:
        """Return a plan that the folder holds or may hold, without writing anything.

        It has the identities of checkpoints that were recorded when the folder was first used: a
        name on the hub is resolved once. Raises a `CntbenchError` if the folder holds anything but
        a run of this plan, or checkpoint files of other weights.
        """
        recorded = self._recorded()
        if recorded is None:
            self._check_empty(plan)
            return plan
        known = recorded.get("checkpoints", {})
        plan = plan.at(known)
        # A checkpoint that was unknown, or not measured, may have changed.
        changeable = {
            checkpoint.name: checkpoint.identity
            for checkpoint in plan.trajectory.checkpoints
            if checkpoint.name in known
            and not (
                checkpoint.identity
                and known[checkpoint.name]
                and self.checkpoint_file(checkpoint).is_file()
            )
        }
        # Others may have been chosen, or have been trained since: each has a file of its own.
        current = plan.identity["checkpoints"]
        unchanged = {name: known.get(name, current[name]) for name in current}
        expected = {**recorded, "checkpoints": {**unchanged, **changeable}}
        differences = differing(plan.identity, expected)
        if differences:
            weights_only = all(key.startswith("checkpoints.") for key in differences)
            raise CntbenchError(
                f"belongs to another study; different: {listed(differences, _NAMED)}",
                where=str(self.path),
                hint="Name another folder with -o, or delete this one"
                + (f" (or the files in {CHECKPOINTS} to measure again)." if weights_only else "."),
            )
        return plan

    def fits(self, plan: Plan) -> bool:
        """Return whether the plan can be started or continued in the folder."""
        try:
            self.check(plan)
        except CntbenchError:
            return False
        return True

    def _recorded(self) -> dict[str, Any] | None:
        """Return the identity of the folder's plan, or None if it has none."""
        manifest = self.path / MANIFEST
        if not manifest.exists():
            return None
        recorded = _read_json(manifest)
        if not is_texts(recorded.get("checkpoints")):
            raise _damaged(manifest, "names no checkpoints")
        return recorded

    def request(self) -> dict[str, Any]:
        """Return the identity of the folder's plan, with the study's name and spec.

        Raises a `CntbenchError` if this is not the folder of a run.
        """
        recorded = self._recorded()
        if recorded is None:
            raise CntbenchError(
                "is not the folder of a run" if file_status(self.path) else "no such folder",
                where=str(self.path),
                hint="Name folders that were written by cntbench run.",
            )
        path = self.path / REQUEST
        request = _read_json(path)
        if not (isinstance(request.get("study"), str) and isinstance(request.get("spec"), dict)):
            raise _damaged(path, "names no study")
        return {**recorded, **request}

    def _check_empty(self, plan: Plan) -> None:
        """Raise an error if the folder holds files that are not this plan's."""
        if not self.path.exists():
            return
        with suppress(StorageError):
            if _read_json(self.path / REQUEST) == _request(plan):
                return  # only its record of checkpoints was deleted, as `_damaged` advises
        if not self.path.is_dir():
            raise CntbenchError("is a file", where=str(self.path), hint="Name a folder with -o.")
        if any(path.is_file() and not path.name.startswith(".") for path in self.path.rglob("*")):
            raise CntbenchError(
                "is not empty, and is not the folder of a run",
                where=str(self.path),
                hint="Name another folder with -o.",
            )

    @contextmanager
    def locked(self, plan: Plan) -> Iterator[Plan]:
        """Reserve the folder for a run of this plan, and yield the plan as `check` returns it.

        Raises a `CntbenchError` if it belongs to another study, is used by another run, or cannot
        be written.
        """
        self.check(plan)  # no lock file in a folder that is not ours
        with self._locked() as lock:
            plan = self.record(self.check(plan))  # another shard may have started in the meantime
            storage.write_text(self.path / REQUEST, json.dumps(_request(plan), indent=1) + "\n")
            if self.shard is not None:
                lock.release()
                yield plan
                return
            self._remove_unfinished()
            try:
                yield plan
            finally:  # a signal to all processes ends workers that write
                self._remove_unfinished()

    def _remove_unfinished(self) -> None:
        for unfinished in self.path.rglob(f".*{storage.UNFINISHED}"):
            unfinished.unlink(missing_ok=True)

    def record(self, plan: Plan) -> Plan:
        """Write what is known of a plan, and return it."""
        storage.write_text(self.path / MANIFEST, json.dumps(self._manifest(plan), indent=1) + "\n")
        return plan

    @contextmanager
    def _locked(self) -> Iterator[FileLock]:
        """Lock the folder, and yield the lock of the whole folder, which a shard releases.

        A whole run excludes all other runs; a shard only whole runs and itself.
        """
        with ExitStack() as locks:
            try:
                for folder in (CHECKPOINTS, UNTRAINED):
                    (self.path / folder).mkdir(parents=True, exist_ok=True)
                run_lock = FileLock(self.path / LOCK, timeout=_PATIENCE if self.shard else 0)
                locks.enter_context(run_lock)
                if self.shard is None:
                    for path in self.path.glob(f"{LOCK}-*"):
                        with FileLock(path, timeout=0):
                            pass
                else:
                    shard_lock = FileLock(self.path / f"{LOCK}-{self.shard.label}", timeout=0)
                    locks.enter_context(shard_lock)
            except Timeout:
                raise CntbenchError(
                    "another run is using this folder",
                    where=str(self.path),
                    hint="Wait for it, or name another folder with -o.",
                ) from None
            except OSError as error:
                raise CntbenchError(
                    f"cannot be written: {storage.reason(error)}",
                    where=str(self.path),
                    hint="Name another folder with -o.",
                ) from None
            yield run_lock

    def _manifest(self, plan: Plan) -> dict[str, Any]:
        """Return the plan's identity, keeping recorded identities of checkpoints unknown now.

        Those of checkpoints that are not among the plan's stay: their files may be used again.
        """
        known = (self._recorded() or {}).get("checkpoints", {})
        checkpoints = {
            name: current or known.get(name, "")
            for name, current in plan.identity["checkpoints"].items()
        }
        return {**plan.identity, "checkpoints": {**known, **checkpoints}}

    def read_checkpoint_file(self, plan: Plan, subject: ModelRef) -> xr.Dataset | None:
        """Return the dataset of a model of the plan, or None if it has to be measured."""
        return self.read_block(plan, SourceBlock(subject))

    def begin(self, subject: ModelRef) -> None:
        """Make the folder of a model's blocks; raise a `StorageError` if that fails."""
        storage.make_folder(self._blocks(subject))

    def read_block(self, plan: Plan, block: SourceBlock) -> xr.Dataset | None:
        """Return the dataset of a block, or None if its file is damaged or of something else."""
        tree = _read(self.block(block))
        if tree is None:
            return None
        dataset = tree.to_dataset()
        if not belongs(dataset.attrs, plan, block):
            return None
        revision = block.subject.revision if isinstance(block.subject, Checkpoint) else ""
        return dataset if revision in ("", dataset["revision"].item()) else None

    def write_block(self, plan: Plan, block: SourceBlock, dataset: xr.Dataset) -> None:
        """Write the file of a block; that of a whole model replaces its blocks."""
        tree = xr.DataTree(dataset.assign_attrs(identity(plan, block)))
        storage.write_results(tree, self.block(block))
        if block.whole:
            shutil.rmtree(self._blocks(block.subject), ignore_errors=True)

    def adopt(self, plan: Plan, subject: ModelRef, other: RunFolder) -> bool:
        """Copy another folder's checkpoint file, and return whether it has a valid one."""
        if other.read_checkpoint_file(plan, subject) is None:
            return False
        data = other.checkpoint_file(subject).read_bytes()
        storage.write_atomically(self.checkpoint_file(subject), lambda path: path.write_bytes(data))
        return True

    def read_failure(self, plan: Plan, subject: ModelRef) -> Failure | None:
        """Return why a shard of the run could not measure a model, or None."""
        try:
            recorded = _read_json(self._failure(subject))
            if not belongs(recorded.pop("of"), plan, SourceBlock(subject)):
                return None
            return Failure(**recorded)
        except (StorageError, LookupError, TypeError, AttributeError):
            return None

    def write_failure(self, plan: Plan, subject: ModelRef, failure: Failure | None) -> None:
        """Record why a model could not be measured, or that it was."""
        path = self._failure(subject)
        if failure is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        record = {**asdict(failure), "of": identity(plan, SourceBlock(subject))}
        storage.write_text(path, json.dumps(record) + "\n")

    def _failure(self, subject: ModelRef) -> Path:
        return self.path / FAILURES / f"{subject.name}.json"

    def read_results(self) -> xr.DataTree | None:
        """Return the combined result of an earlier run, or None if there is no valid one."""
        return _read(self.results)


def _request(plan: Plan) -> dict[str, Any]:
    """Return the study of a plan, as `REQUEST` records it."""
    return {"study": plan.study.name, "spec": plan.study_spec}


def _read_json(path: Path) -> dict[str, Any]:
    """Read a record of a run; raise a `StorageError` unless it is a JSON object."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except ValueError:
        raise _damaged(path, "it is not JSON") from None
    if not isinstance(record, dict):
        raise _damaged(path, "it is not a JSON object")
    return record


def _damaged(path: Path, problem: str) -> StorageError:
    return StorageError(
        f"is damaged: {problem}",
        where=str(path),
        hint="Delete this file and run the same command again: finished checkpoint files are kept.",
    )


def _read(path: Path) -> xr.DataTree | None:
    try:
        return storage.open_sealed(path)
    except StorageError:
        return None
