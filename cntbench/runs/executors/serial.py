"""One after the other, in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import torch

from cntbench.runs.measurer import CheckpointMeasurer, not_fetched
from cntbench.results.failure import Failure
from cntbench.models.trajectory import ModelRef
from cntbench.runs.prefetch import Prefetch


def execute(measurer: CheckpointMeasurer, ahead: Prefetch) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    coming = deque(ahead.start())
    try:
        while coming:
            subject, fetched = coming.popleft()
            wait([fetched])
            failure = not_fetched(subject, fetched) or _attempt(measurer, subject, fetched.result())
            yield subject, failure
            coming.extend(ahead.start())
    finally:
        torch.set_num_threads(threads)


def _attempt(measurer: CheckpointMeasurer, subject: ModelRef, files: Path) -> Failure | None:
    failures = [measurer.attempt(block, files) for block in measurer.blocks(subject)]
    return next(filter(None, failures), None) or measurer.join(subject)
