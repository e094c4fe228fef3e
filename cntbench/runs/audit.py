"""The integrity of a trajectory: which checkpoints are missing, damaged or duplicates.

Either from a result, or by fetching, reading and hashing the checkpoints of a trajectory.
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
    """The integrity of one checkpoint.

    Parameters
    ----------
    checkpoint, step
        Name and training step.
    revision
        SHA-256 of the tensors; empty if they could not be read.
    status, reason
        One of `cntbench.results.schema.STATUS`, and why it is not ok, else empty.
    """

    checkpoint: str
    step: int
    revision: str
    status: str
    reason: str

    @property
    def lost(self) -> bool:
        """Whether there are no weights to measure; a duplicate has weights."""
        return self.status in ("missing", "failed")


def audit_results(dataset: xr.Dataset) -> list[Audited]:
    """Return the status of a result's checkpoints: the first that is not ok, if any."""
    rows: list[Audited] = []
    for index, ok in enumerate(usable(dataset)):
        at = dataset.isel(checkpoint=index)
        cell = 0 if ok else int(np.flatnonzero(at["status"].values.ravel() != "ok")[0])
        status, reason = (at[name].values.ravel()[cell] for name in ("status", "status_reason"))
        labels = at["checkpoint"].item(), int(at["step"]), at["revision"].item()
        rows.append(Audited(*labels, str(status), str(reason)))
    return rows


def audit_trajectory(trajectory: Trajectory, progress: Progress, *, keep: int = 2) -> list[Audited]:
    """Fetch, read and check all checkpoints, and delete those that were downloaded for it.

    Parameters
    ----------
    trajectory
        The trajectory.
    progress
        Receives progress at every checkpoint.
    keep
        Number of downloaded checkpoints to keep on disk besides the one being read.
    """
    rows: list[Audited] = []
    checkpoints = trajectory.checkpoints
    total = len(checkpoints)
    with (
        tempfile.TemporaryDirectory(prefix="cntbench-") as folder,
        Prefetch(checkpoints, trajectory.fetch, Path(folder) / "rooms", 1 + keep) as ahead,
    ):
        fetching = deque(ahead.start())
        while fetching:
            checkpoint, fetched = checkpoints[len(rows)], fetching.popleft()
            progress("reading checkpoints", len(rows), total)
            rows.append(_audited(trajectory, checkpoint, fetched.folder))
            ahead.release(checkpoint)
            fetching.extend(ahead.start())
    progress("reading checkpoints", total, total)
    return _with_duplicates(rows)


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
    """Mark checkpoints with the weights of an earlier one as duplicates."""
    ok = [row for row in rows if row.status == "ok"]
    first = originals([row.checkpoint for row in ok], [row.revision for row in ok])
    duplicates = {
        row.checkpoint: replace(row, status="duplicate", reason=f"same weights as {original}")
        for row, original in zip(ok, first, strict=True)
        if original is not None
    }
    return [duplicates.get(row.checkpoint, row) for row in rows]
