"""On several processes of this machine, one thread each."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from cntbench.cells import Cells, not_fetched
from cntbench.errors import CntbenchError
from cntbench.executors import serial
from cntbench.executors._unfinished import Unfinished
from cntbench.failure import Failure
from cntbench.models.trajectory import Subject
from cntbench.pieces import Piece
from cntbench.prefetch import Prefetch
from cntbench.processes import deaf_to_interrupts, end_with_parent, worker_context


def execute(cells: Cells, ahead: Prefetch, jobs: int) -> Iterator[tuple[Subject, Failure | None]]:
    """Measure on so many processes, in this one if that is one."""
    if jobs == 1:
        yield from serial.execute(cells, ahead)
        return
    pool = ProcessPoolExecutor(
        jobs, mp_context=worker_context(), initializer=_start_worker, initargs=(cells,)
    )
    unfinished = Unfinished(cells)
    coming: dict[Future[Path], Subject] = {}
    running: dict[Future[Failure | None], Subject] = {}
    try:
        while True:
            coming |= {fetched: subject for subject, fetched in ahead.start()}
            if not coming and not running:
                return
            awaited: list[Future[Any]] = [*coming, *running]
            ready, _ = wait(awaited, return_when=FIRST_COMPLETED)
            for fetched in ready & coming.keys():
                subject = coming.pop(fetched)
                failure = not_fetched(subject, fetched)
                if failure is not None:
                    yield subject, failure
                    continue
                pieces = unfinished.begin(subject)
                with deaf_to_interrupts():
                    for piece in pieces:
                        running[_submitted(pool, piece, fetched.result())] = subject
                if not pieces:
                    yield subject, unfinished.end(subject)
            for done in ready & running.keys():
                subject = running.pop(done)
                crash = done.exception()
                if isinstance(crash, CntbenchError):
                    raise crash
                failure = (
                    done.result() if crash is None else Failure("failed", f"worker died: {crash}")
                )
                if unfinished.count(subject, failure):
                    yield subject, unfinished.end(subject)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, piece: Piece, folder: Path) -> Future[Failure | None]:
    """Give a piece to the workers; if one has died, none of them takes any more."""
    try:
        return pool.submit(_work, piece, folder)
    except BrokenProcessPool as error:
        refused: Future[Failure | None] = Future()
        refused.set_exception(error)
        return refused


_cells: Cells


def _start_worker(cells: Cells) -> None:
    global _cells
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    end_with_parent()
    _cells = cells


def _work(piece: Piece, folder: Path) -> Failure | None:
    return _cells.attempt(piece, folder)
