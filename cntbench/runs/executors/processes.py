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


def execute(cells: CheckpointMeasurer, ahead: Prefetch, jobs: int) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on so many processes, in this one if that is one."""
    if jobs == 1:
        yield from serial.execute(cells, ahead)
        return
    unfinished = Unfinished(cells)
    coming: dict[Future[Path], ModelRef] = {}
    with Workers(_work, jobs, start=_start, arguments=(cells,), finish=True) as workers:
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
                pieces = unfinished.begin(subject)
                for piece in pieces:
                    workers.add((piece, fetched.result()))
                if not pieces:
                    yield subject, unfinished.end(subject)
            for (piece, _), result in workers.collect(ready):
                failure = (
                    Failure.of(result, piece) if isinstance(result, WorkerKilledError) else result
                )
                if unfinished.count(piece.subject, failure):
                    yield piece.subject, unfinished.end(piece.subject)


_cells: CheckpointMeasurer


def _start(cells: CheckpointMeasurer) -> None:
    global _cells
    start_worker()
    _cells = cells


def _work(piece: tuple[SourceBlock, Path]) -> Failure | None:
    return _cells.attempt(*piece)
