"""On several processes of this machine, one thread each."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cntbench.cells import Cells, not_fetched
from cntbench.errors import CntbenchError
from cntbench.executors import serial
from cntbench.failure import Failure
from cntbench.models.trajectory import Subject
from cntbench.prefetch import Prefetch
from cntbench.processes import end_with_parent, worker_context


def execute(cells: Cells, ahead: Prefetch, jobs: int) -> Iterator[tuple[Subject, Failure | None]]:
    """Measure on so many processes, in this one if that is one."""
    if jobs == 1:
        yield from serial.execute(cells, ahead)
        return
    pool = ProcessPoolExecutor(
        jobs, mp_context=worker_context(), initializer=_start_worker, initargs=(cells,)
    )
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
                with _deaf_to_interrupts():
                    running[_submitted(pool, subject, fetched.result())] = subject
            for done in ready & running.keys():
                subject = running.pop(done)
                crash = done.exception()
                if isinstance(crash, CntbenchError):
                    raise crash
                yield (
                    subject,
                    done.result() if crash is None else Failure("failed", f"worker died: {crash}"),
                )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, subject: Subject, folder: Path) -> Future[Failure | None]:
    """Give a model to the workers; if one has died, none of them takes any more."""
    try:
        return pool.submit(_work, subject, folder)
    except BrokenProcessPool as error:
        refused: Future[Failure | None] = Future()
        refused.set_exception(error)
        return refused


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from their first moment: they end with a whole shard."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business, and Ctrl-C does not arrive here
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_cells: Cells


def _start_worker(cells: Cells) -> None:
    global _cells
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    end_with_parent()
    _cells = cells


def _work(subject: Subject, folder: Path) -> Failure | None:
    return _cells.attempt(subject, folder)
