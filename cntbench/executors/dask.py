"""On a Dask cluster: workers of this machine, or of many.

Workers read a model's files where the client sees them, on a file system that all share. What they
measure they send back, and the client writes it: workers write nothing. What a worker was doing
when it died is done by another one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
import xarray as xr

from cntbench.cells import Cells, not_fetched
from cntbench.errors import CntbenchError
from cntbench.executors._unfinished import Unfinished
from cntbench.failure import Failure
from cntbench.models.trajectory import Subject
from cntbench.pieces import Piece
from cntbench.prefetch import Prefetch
from cntbench.processes import deaf_to_interrupts

#: How long to wait for a scheduler to answer [s].
PATIENCE = 30


def check_installed() -> None:
    """Raise an error that names the extra if Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise CntbenchError(
            "Dask is not installed",
            hint="pip install 'cntbench[dask]', or run without it by --jobs.",
        ) from None


def execute(
    cells: Cells, ahead: Prefetch, jobs: int, scheduler: str | None = None
) -> Iterator[tuple[Subject, Failure | None]]:
    """Measure on a running cluster, or on one of this machine with so many workers.

    Parameters
    ----------
    cells, ahead
        What to measure, as it is fetched.
    jobs
        Workers, if there is no scheduler.
    scheduler
        Address of a running one, such as ``tcp://node1:8786``. As many models are measured at the
        same time as its workers have threads, also when further workers come.

    Raises
    ------
    CntbenchError
        If no scheduler answers there, or the connection to it is lost; or, a `StorageError`, if a
        shard cannot be written.
    """
    happened: SimpleQueue[tuple[Subject | Piece, Any]] = SimpleQueue()

    def tell(what: Subject | Piece, done: Any) -> None:
        happened.put((what, done))

    with ExitStack() as stack:
        client = stack.enter_context(_client(stack, jobs, scheduler))
        shared = client.submit(_same, cells, pure=False)
        unfinished = Unfinished(cells)
        running, room = 0, jobs
        while True:
            threads = sum(client.nthreads().values())
            if threads > room:
                ahead.widen(threads - room)
                room = threads
            for subject, fetched in ahead.start():
                running += 1
                fetched.add_done_callback(partial(tell, subject))
            if not running:
                return
            what, done = happened.get()
            if isinstance(what, Piece):
                subject, found = what.subject, _outcome(done, scheduler)
                failure = found if isinstance(found, Failure) else None
                if not isinstance(found, Failure):
                    cells.keep(what, found)
                if not unfinished.count(subject, failure):
                    continue
                failure = unfinished.end(subject)
            else:
                subject, failure = what, not_fetched(what, done)
                if failure is None:
                    files = done.result().absolute()
                    pieces = unfinished.begin(subject)
                    for piece in pieces:
                        task = client.submit(_work, shared, piece, files, pure=False)
                        task.add_done_callback(partial(tell, piece))
                    if pieces:
                        continue
                    failure = unfinished.end(subject)
            running -= 1
            yield subject, failure


def _client(stack: ExitStack, jobs: int, scheduler: str | None) -> Any:
    """Return a client, of a cluster that ends with the stack if there is no scheduler.

    It is no default client, or xarray would ask the scheduler for locks whenever it writes a file.
    """
    from distributed import Client, LocalCluster

    if scheduler is None:
        with deaf_to_interrupts():  # and so are the workers
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                memory_limit=0,  # what a run may take is said by its memory budget
                dashboard_address=":0",  # whatever is free
                silence_logs=logging.CRITICAL,  # what matters of a worker's end, the run says
            )
        return Client(stack.enter_context(cluster), set_as_default=False)
    try:
        return Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CntbenchError(
            f"no Dask scheduler answers: {error}",
            where=scheduler,
            hint="Start one by 'dask scheduler', and workers by 'dask worker ADDRESS'.",
        ) from None


def _outcome(done: Any, scheduler: str | None) -> xr.Dataset | Failure:
    """Return what a worker has sent back; if it was one that died, several others did, too."""
    try:
        found: xr.Dataset | Failure = done.result()
    except CancelledError:
        raise CntbenchError(
            "the connection to the Dask scheduler was lost",
            where=scheduler,
            hint="Whole shards are kept: the same command goes on from there.",
        ) from None
    except Exception as error:
        return Failure("failed", f"worker died: {type(error).__name__}: {error}")
    return found


def _same(cells: Cells) -> Cells:
    """Hand on what all tasks share: what a task gives can be had again when its worker dies."""
    return cells


def _work(cells: Cells, piece: Piece, files: Path) -> xr.Dataset | Failure:
    torch.set_num_threads(1)
    return cells.measured(piece, files)
