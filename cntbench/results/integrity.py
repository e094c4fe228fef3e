"""The integrity of the checkpoints of a result: measured, missing, failed or repeated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from cntbench.results.film import usable
from cntbench.results.schema import STATUS

#: What an audit may find of a checkpoint: it can be measured although it is suspect.
AUDITED = (*STATUS, "suspect")


@dataclass(frozen=True)
class Audited:
    """The integrity of one checkpoint.

    Parameters
    ----------
    checkpoint, step
        Name and training step.
    revision
        SHA-256 of the tensors; of the files if only samples were read; empty if unknown.
    status, reason
        One of `AUDITED`, and why it is not ok, else empty.
    sampled
        Whether no more than samples of the weights, or hashes of their files, were read.
    """

    checkpoint: str
    step: int
    revision: str
    status: str
    reason: str
    sampled: bool = False

    @property
    def hashes_only(self) -> bool:
        """Whether no more than hashes of the files are known."""
        return False

    @property
    def lost(self) -> bool:
        """Whether there are no weights to measure; a duplicate has weights."""
        return self.status in ("missing", "failed")


def audit_results(dataset: xr.Dataset) -> list[Audited]:
    """Return the status of a result's checkpoints: the first that is not ok, if any."""
    labels = (dataset[name].values for name in ("checkpoint", "step", "revision"))
    cells = (
        dataset[name].transpose("checkpoint", ...).values.reshape(dataset.sizes["checkpoint"], -1)
        for name in ("status", "status_reason")
    )
    rows: list[Audited] = []
    for ok, name, step, revision, status, reason in zip(
        usable(dataset), *labels, *cells, strict=True
    ):
        cell = 0 if ok else int(np.flatnonzero(status != "ok")[0])
        about = str(status[cell]), str(reason[cell])
        rows.append(Audited(str(name), int(step), str(revision), *about))
    return rows
