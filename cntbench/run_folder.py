"""The folder of a run: which study it belongs to, its shards, and the result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import FileLock, Timeout

from cntbench.errors import CntbenchError, StorageError
from cntbench.models.trajectory import Checkpoint, Subject, Untrained
from cntbench.plan import Plan, differing
from cntbench.storage import open_results, write_results, write_text

MANIFEST = "study.json"
RESULTS = "results.nc"
SHARDS = "shards"
DOWNLOADS = "downloads"
UNTRAINED = "untrained"

#: At most so many differences are named in an error.
_NAMED = 5


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one plan."""

    path: Path

    @property
    def results(self) -> Path:
        """The combined result."""
        return self.path / RESULTS

    @property
    def downloads(self) -> Path:
        """Where checkpoints lie that are downloaded for the run, until they are measured."""
        return self.path / DOWNLOADS

    def shard(self, subject: Subject) -> Path:
        """The result of one checkpoint, or of one untrained model."""
        folder = UNTRAINED if isinstance(subject, Untrained) else SHARDS
        return self.path / folder / f"{subject.name}.nc"

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
            If the folder holds anything but a run of this plan, or shards of other weights.
        """
        recorded = self._recorded()
        if recorded is None:
            self._check_empty()
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
            named = ", ".join(differences[:_NAMED])
            more = len(differences) - _NAMED
            changed = all(key.startswith("checkpoints.") for key in differences)
            raise CntbenchError(
                f"belongs to another study; different: {named}"
                + (f" and {more} more" if more > 0 else ""),
                where=str(self.path),
                hint="Name another folder with -o, or delete this one"
                + (f" (or, in {SHARDS}, what is to be measured anew)." if changed else "."),
            )
        return plan

    def _has(self, checkpoint: Checkpoint) -> bool:
        return self.shard(checkpoint).is_file()

    def _recorded(self) -> dict[str, Any] | None:
        """Return the identity of the plan whose folder this is, None if it is nobody's."""
        manifest = self.path / MANIFEST
        if not manifest.exists():
            return None
        try:
            recorded: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot be read: {error}", where=str(manifest)) from None
        return recorded

    def _check_empty(self) -> None:
        """Raise an error if there are files that no run has begun with."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise CntbenchError("is a file", where=str(self.path), hint="Name a folder with -o.")
        if any(path.is_file() and not path.name.startswith(".") for path in self.path.rglob("*")):
            raise CntbenchError(
                "is not empty, and not the folder of a run",
                where=str(self.path),
                hint="Name another folder with -o.",
            )

    @contextmanager
    def claimed(self, plan: Plan) -> Iterator[Plan]:
        """Make the folder this plan's for as long as the run lasts; yields it as `check` does.

        Raises
        ------
        CntbenchError
            If it belongs to another study, is in use by another run, or cannot be written.
        """
        plan = self.check(plan)
        try:
            for folder in (SHARDS, UNTRAINED):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise CntbenchError(
                "another run is using this folder",
                where=str(self.path),
                hint="Wait for it, or name another folder with -o.",
            ) from None
        except OSError as error:
            raise CntbenchError(
                f"cannot be written: {error.strerror}",
                where=str(self.path),
                hint="Name another folder with -o.",
            ) from None
        try:
            write_text(self.path / MANIFEST, json.dumps(self._remembering(plan), indent=1) + "\n")
            yield plan
        finally:
            lock.release()

    def _remembering(self, plan: Plan) -> dict[str, Any]:
        """Return the plan's identity, with what was known of checkpoints that are unknown now."""
        known = (self._recorded() or {}).get("checkpoints", {})
        now = plan.identity["checkpoints"]
        return {**plan.identity, "checkpoints": {k: v or known.get(k, "") for k, v in now.items()}}

    def read_shard(self, subject: Subject) -> xr.Dataset | None:
        """Return a whole shard of a subject's weights, or None if it is to be measured."""
        tree = _read(self.shard(subject))
        if tree is None:
            return None
        shard = tree.to_dataset()
        known = subject.revision if isinstance(subject, Checkpoint) else ""
        return shard if known in ("", shard["revision"].item()) else None

    def write_shard(self, subject: Subject, dataset: xr.Dataset) -> None:
        """Keep a shard."""
        write_results(xr.DataTree(dataset), self.shard(subject))

    def read_results(self) -> xr.DataTree | None:
        """Return the combined result of an earlier run, or None if there is no whole one."""
        return _read(self.results)


def _read(path: Path) -> xr.DataTree | None:
    try:
        return open_results(path)
    except StorageError:
        return None
