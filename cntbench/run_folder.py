"""The folder of a run: which study it belongs to, its shards, and the result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import xarray as xr
from filelock import FileLock, Timeout

from cntbench.errors import CntbenchError, StorageError
from cntbench.models.trajectory import Subject, Untrained
from cntbench.plan import Plan, differing
from cntbench.storage import open_results, write_results, write_text

MANIFEST = "study.json"
RESULTS = "results.nc"
SHARDS = "shards"
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

    def shard(self, subject: Subject) -> Path:
        """The result of one checkpoint, or of one untrained model."""
        folder = UNTRAINED if isinstance(subject, Untrained) else SHARDS
        return self.path / folder / f"{subject.name}.nc"

    def check(self, plan: Plan) -> None:
        """Raise an error if the folder holds anything but a run of this plan. Writes nothing."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise CntbenchError("is a file", where=str(self.path), hint="Name a folder with -o.")
        manifest = self.path / MANIFEST
        if not manifest.exists():
            if any(self.path.iterdir()):
                raise CntbenchError(
                    "is not empty, and not the folder of a run",
                    where=str(self.path),
                    hint="Name another folder with -o.",
                )
            return
        try:
            recorded = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(f"cannot be read: {error}", where=str(manifest)) from None
        differences = differing(plan.identity, recorded)
        if differences:
            named = ", ".join(differences[:_NAMED])
            more = len(differences) - _NAMED
            raise CntbenchError(
                f"belongs to another study; different: {named}"
                + (f" and {more} more" if more > 0 else ""),
                where=str(self.path),
                hint="Name another folder with -o, or delete this one.",
            )

    @contextmanager
    def claimed(self, plan: Plan) -> Iterator[None]:
        """Make the folder this plan's for as long as the run lasts.

        Raises
        ------
        CntbenchError
            If it belongs to another study, is in use by another run, or cannot be written.
        """
        self.check(plan)
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
            write_text(self.path / MANIFEST, json.dumps(plan.identity, indent=1) + "\n")
            yield
        finally:
            lock.release()

    def read_shard(self, subject: Subject) -> xr.Dataset | None:
        """Return a whole shard, or None if it has to be measured (again)."""
        tree = _read(self.shard(subject))
        return None if tree is None else tree.to_dataset()

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
