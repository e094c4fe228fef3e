"""On several processes of this machine, one thread each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from cntbench.runs.measurer import CheckpointMeasurer, not_fetched
from cntbench.runs.executors import serial
from cntbench.runs.executors._unfinished import Unfinished
from cntbench.results.failure import Failure
from cntbench.models.trajectory import ModelRef
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.prefetch import Prefetch
from cntbench.parallel import WorkerKilledError, Workers, start_worker


def execute(measurer: CheckpointMeasurer, ahead: Prefetch, jobs: int) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on so many processes, in this one if that is one."""
    if jobs == 1:
        yield from serial.execute(measurer, ahead)
        return
    unfinished = Unfinished(measurer)
    coming: dict[Future[Path], ModelRef] = {}
    with Workers(_work, jobs, start=_start, arguments=(measurer,), finish=True) as workers:
        while True:
            coming |= {fetched: subject for subject, fetched in ahead.start()}
            if not coming and not workers.busy:
                return
            awaited: list[Future[Any]] = [*coming, *workers.busy]
            ready, _ = wait(awaited, return_when=FIRST_COMPLETED)
            for fetched in ready & coming.keys():
                subject = coming.pop(fetched)
                failure = not_fetched(subject, fetched)
                if failure is not None:
                    yield subject, failure
                    continue
                blocks = unfinished.begin(subject)
                for block in blocks:
                    workers.add((block, fetched.result()))
                if not blocks:
                    yield subject, unfinished.end(subject)
            for (block, _), result in workers.collect(ready):
                failure = (
                    Failure.of(result, block) if isinstance(result, WorkerKilledError) else result
                )
                if unfinished.count(block.subject, failure):
                    yield block.subject, unfinished.end(block.subject)


_measurer: CheckpointMeasurer


def _start(measurer: CheckpointMeasurer) -> None:
    global _measurer
    start_worker()
    _measurer = measurer


def _work(block: tuple[SourceBlock, Path]) -> Failure | None:
    return _measurer.attempt(*block)
