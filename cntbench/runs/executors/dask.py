"""On a Dask cluster: workers of this machine, or of many.

Workers read a model's files where the client sees them, on a file system that all share. What they
measure they send back, and the client writes it: workers write nothing. What a worker was doing
when it died is done by another one; what kills workers is found out and given up.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
import xarray as xr

from cntbench.runs.measurer import CheckpointMeasurer, not_fetched
from cntbench.errors import CntbenchError
from cntbench.runs.executors._unfinished import Unfinished
from cntbench.results.failure import Failure
from cntbench.interrupts import starting_processes
from cntbench.models.trajectory import ModelRef
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.prefetch import Prefetch
from cntbench.parallel import killed

#: How long to wait for a scheduler to answer [s].
PATIENCE = 10


def check_installed() -> None:
    """Raise an error that names the extra if Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise CntbenchError(
            "Dask is not installed",
            hint="pip install 'cntbench[dask]', or run without it by --jobs.",
        ) from None


def check_answers(scheduler: str) -> None:
    """Raise an error if no scheduler answers at an address.

    Asked by a thread that is left alone when it takes too long, and not by a client, whose threads
    go on trying.
    """
    from distributed import rpc
    from distributed.comm import parse_address, parse_host_port
    from distributed.security import Security

    answer: Future[object] = Future()

    async def identify() -> dict[str, str]:
        arguments = Security().get_connection_args("client")
        async with rpc(scheduler, timeout=PATIENCE, connection_args=arguments) as server:
            described: dict[str, str] = await server.identity()
            return described

    def ask() -> None:
        try:
            host, port = parse_host_port(parse_address(scheduler)[1])
            socket.getaddrinfo(host, port)
            kind = asyncio.run(identify())["type"]
            if kind != "Scheduler":
                raise ValueError(f"it is a {kind}")
            answer.set_result(kind)
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer.result(PATIENCE)
    except Exception as error:
        reason = " ".join(str(error).split()) or f"not within {PATIENCE} s"
        raise _nobody(scheduler, reason) from None


def _nobody(scheduler: str, reason: str) -> CntbenchError:
    return CntbenchError(
        f"no Dask scheduler answers: {reason}",
        where=scheduler,
        hint="Start one by 'dask scheduler', and workers by 'dask worker ADDRESS'.",
    )


def execute(
    measurer: CheckpointMeasurer, ahead: Prefetch, jobs: int, scheduler: str | None = None
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on a running cluster, or on one of this machine with so many workers.

    Parameters
    ----------
    measurer, ahead
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
        checkpoint file cannot be written.
    """
    happened: SimpleQueue[tuple[ModelRef | SourceBlock, Any]] = SimpleQueue()

    def tell(what: ModelRef | SourceBlock, done: Any) -> None:
        happened.put((what, done))

    with ExitStack() as stack:
        client = stack.enter_context(_client(stack, jobs, scheduler))
        tasks = _Tasks(client, measurer, tell)
        unfinished = Unfinished(measurer)
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
            if isinstance(what, SourceBlock):
                subject, found = what.subject, tasks.outcome(what, done, scheduler)
                if found is None:
                    continue
                failure = found if isinstance(found, Failure) else None
                if not isinstance(found, Failure):
                    measurer.keep(what, found)
                if not unfinished.count(subject, failure):
                    continue
                failure = unfinished.end(subject)
            else:
                subject, failure = what, not_fetched(what, done)
                if failure is None:
                    files = done.result().absolute()
                    blocks = unfinished.begin(subject)
                    for block in blocks:
                        tasks.add(block, files)
                    if blocks:
                        continue
                    failure = unfinished.end(subject)
            running -= 1
            yield subject, failure


class _Tasks:
    """Blocks on a cluster.

    Dask gives a task up, and whatever else was on the same workers, when so many of them died as
    its scheduler allows. Each of these is then tried once more while nothing else runs: what is
    given up again has killed them.

    Parameters
    ----------
    client, measurer
        The cluster's, and what measures.
    tell
        Called when a block is done.
    """

    def __init__(self, client: Any, measurer: CheckpointMeasurer, tell: Callable[[SourceBlock, Any], None]) -> None:
        self._client = client
        self._measurer = measurer
        self._tell = tell
        self._shared = client.submit(_same, measurer, pure=False)
        self._files: dict[SourceBlock, Path] = {}
        self._waiting: deque[SourceBlock] = deque()
        self._suspects: deque[SourceBlock] = deque()
        self._suspected: set[SourceBlock] = set()
        self._running: set[SourceBlock] = set()

    def add(self, block: SourceBlock, files: Path) -> None:
        """Have a block measured, whose files are in a folder."""
        self._files[block] = files
        self._waiting.append(block)
        self._submit()

    def outcome(
        self, block: SourceBlock, done: Any, scheduler: str | None
    ) -> xr.Dataset | Failure | None:
        """Return what a worker has sent back, None if the block is tried once more."""
        from distributed import KilledWorker

        self._running.remove(block)
        found: xr.Dataset | Failure | None
        try:
            found = done.result()
        except CancelledError:
            raise CntbenchError(
                "the connection to the Dask scheduler was lost",
                where=scheduler,
                hint="Whole checkpoint files are kept: the same command goes on from there.",
            ) from None
        except KilledWorker:
            found = Failure.of(killed(), block) if block in self._suspected else None
        except Exception as error:
            found = Failure("failed", f"worker died: {type(error).__name__}: {error}")
        if found is None:
            self._suspects.append(block)
            self._suspected.add(block)
        self._submit()
        return found

    def _submit(self) -> None:
        """Send blocks to the cluster: a suspect alone, the others together."""
        if self._suspects:
            if not self._running:
                self._send(self._suspects.popleft())
        elif not self._running & self._suspected:
            while self._waiting:
                self._send(self._waiting.popleft())

    def _send(self, block: SourceBlock) -> None:
        self._running.add(block)
        if self._shared.status == "error":  # it was on a worker that died, too
            self._shared = self._client.submit(_same, self._measurer, pure=False)
        task = self._client.submit(_work, self._shared, block, self._files[block], pure=False)
        task.add_done_callback(partial(self._tell, block))


def _client(stack: ExitStack, jobs: int, scheduler: str | None) -> Any:
    """Return a client, of a cluster that ends with the stack if there is no scheduler.

    It is no default client, or xarray would ask the scheduler for locks whenever it writes a file.
    """
    from distributed import Client

    if scheduler is None:
        cluster = _cluster(stack, jobs)
        return Client(cluster, set_as_default=False)
    try:
        return Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _nobody(scheduler, str(error)) from None


def _cluster(stack: ExitStack, jobs: int) -> Any:
    """Return a cluster of this machine that nobody else's machine can reach, without a dashboard.

    A worker's death is told at once, not when several have died.
    """
    import dask
    from distributed import LocalCluster

    no_pages: dict[str, list[str]] = {
        f"distributed.{kind}.http.routes": [] for kind in ("scheduler", "worker")
    }
    with starting_processes(), dask.config.set(no_pages):
        return stack.enter_context(
            LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                host="127.0.0.1",
                memory_limit=0,  # what a run may take is said by its memory budget
                dashboard_address="127.0.0.1:0",  # a server is started whatever it shows
                scheduler_kwargs={"dashboard": False, "allowed_failures": 0},
                silence_logs=logging.CRITICAL,  # what matters of a worker's end, the run says
            )
        )


def _same(measurer: CheckpointMeasurer) -> CheckpointMeasurer:
    """Hand on what all tasks share: what a task gives can be had again when its worker dies."""
    return measurer


def _work(measurer: CheckpointMeasurer, block: SourceBlock, files: Path) -> xr.Dataset | Failure:
    torch.set_num_threads(1)
    return measurer.measured(block, files)
