"""The integrity of a trajectory: which checkpoints are what they are said to be, which are not.

Either a result says it, of what was measured, or the checkpoints of a trajectory are fetched, read
and hashed one by one.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from cntbench.models.trajectory import Checkpoint, Progress, Trajectory
from cntbench.results.failure import Failure
from cntbench.results.film import originals, usable
from cntbench.runs.prefetch import Prefetch


@dataclass(frozen=True)
class Audited:
    """A checkpoint and what is to be said of it.

    Parameters
    ----------
    checkpoint
        Its name.
    step
        Training step.
    revision
        SHA-256 over the tensors; empty if they could not be read.
    status
        One of `cntbench.results.schema.STATUS`.
    reason
        Why the status is not ok, else empty.
    """

    checkpoint: str
    step: int
    revision: str
    status: str
    reason: str

    @property
    def lost(self) -> bool:
        """Whether there are no weights to measure; a duplicate has some."""
        return self.status in ("missing", "failed")


def audit_results(dataset: xr.Dataset) -> list[Audited]:
    """Return what a result says of its checkpoints: the first status that is not ok, if any."""
    found: list[Audited] = []
    for index, whole in enumerate(usable(dataset)):
        at = dataset.isel(checkpoint=index)
        cell = 0 if whole else int(np.flatnonzero(at["status"].values.ravel() != "ok")[0])
        status, reason = (at[name].values.ravel()[cell] for name in ("status", "status_reason"))
        named = at["checkpoint"].item(), int(at["step"]), at["revision"].item()
        found.append(Audited(*named, str(status), str(reason)))
    return found


def audit_trajectory(trajectory: Trajectory, progress: Progress, *, keep: int = 2) -> list[Audited]:
    """Fetch, read and check all checkpoints; none is kept that was not on this machine before.

    Parameters
    ----------
    trajectory
        Which one.
    progress
        Told about every checkpoint.
    keep
        Downloaded checkpoints that may lie on disk beside the one that is being read.
    """
    found: list[Audited] = []
    checkpoints = trajectory.checkpoints
    total = len(checkpoints)
    with (
        tempfile.TemporaryDirectory(prefix="cntbench-") as folder,
        Prefetch(checkpoints, trajectory.fetch, Path(folder) / "rooms", 1 + keep) as ahead,
    ):
        coming = deque(ahead.start())
        while coming:
            checkpoint, fetched = checkpoints[len(found)], coming.popleft()
            progress("reading checkpoints", len(found), total)
            found.append(_audited(trajectory, checkpoint, fetched.folder))
            ahead.release(checkpoint)
            coming.extend(ahead.start())
    progress("reading checkpoints", total, total)
    return _with_duplicates(found)


def _audited(trajectory: Trajectory, checkpoint: Checkpoint, fetched: Future[Path]) -> Audited:
    place: object = checkpoint.origin
    wait([fetched])
    try:
        place = fetched.result()
        read, _ = trajectory.read(checkpoint, fetched.result())
    except Exception as error:
        failure = Failure.of(error, place)
        return _row(checkpoint, failure.status, failure.reason)
    return _row(read, "ok", "")


def _row(checkpoint: Checkpoint, status: str, reason: str) -> Audited:
    return Audited(checkpoint.name, checkpoint.step, checkpoint.revision, status, reason)


def _with_duplicates(rows: Sequence[Audited]) -> list[Audited]:
    good = [row for row in rows if row.status == "ok"]
    first = originals([row.checkpoint for row in good], [row.revision for row in good])
    said = {
        row.checkpoint: replace(row, status="duplicate", reason=f"same weights as {original}")
        for row, original in zip(good, first, strict=True)
        if original is not None
    }
    return [said.get(row.checkpoint, row) for row in rows]
