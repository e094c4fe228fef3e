"""Measure on a Dask cluster: workers of this machine, or of many.

Workers read a model's files under the client's paths, on a file system that all of them share. They
send their results back and the client writes them: workers write nothing. When a worker dies,
another one repeats its block; a block that kills its workers is found and given up.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import xarray as xr

from cntbench.errors import CntbenchError
from cntbench.models.device import gpus_of, use_gpus
from cntbench.models.trajectory import ModelRef
from cntbench.parallel.interrupts import starting_processes
from cntbench.parallel.processes import killed, use_one_thread
from cntbench.results.failure import Failure
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.executors.loop import Item, measure_models
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.prefetch import Prefetch

#: Held while the number of threads is set.
_SETTING = threading.Lock()
#: How long a scheduler may take to answer [s].
PATIENCE = 10


def check_installed() -> None:
    """Raise an error that names the extra if Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise CntbenchError(
            "Dask is not installed",
            hint="pip install 'cntbench[dask]', or use --jobs without Dask.",
        ) from None


def check_answers(scheduler: str) -> None:
    """Raise an error if no scheduler answers at an address.

    A thread asks, and is abandoned if it takes too long: the threads of a client would go on
    trying.
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
        raise _no_answer(scheduler, reason) from None


def _no_answer(scheduler: str, reason: str) -> CntbenchError:
    return CntbenchError(
        f"no Dask scheduler answers: {reason}",
        where=scheduler,
        hint="Start one with 'dask scheduler', and its workers with 'dask worker ADDRESS'.",
    )


def execute(
    measurer: CheckpointMeasurer, ahead: Prefetch, jobs: int, scheduler: str | None = None
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on a running cluster, or on `jobs` workers of this machine.

    Raises a `CntbenchError` if no scheduler answers, the connection is lost, or, as `StorageError`,
    a checkpoint file cannot be written.

    Parameters
    ----------
    scheduler
        Address of a running scheduler, such as ``tcp://node1:8786``. As many models are measured
        at a time as its workers have threads, including workers that join later.
    """
    with ExitStack() as stack:
        client = stack.enter_context(_client(stack, jobs, scheduler))
        workers = _ClusterWorkers(client, measurer, jobs, scheduler)
        yield from measure_models(measurer, ahead, workers, joined=workers.joined)


class _ClusterWorkers:
    """Measures blocks on a cluster, and writes what its workers send back.

    When more workers die than the scheduler allows, Dask gives up every task that they were
    running. Each of those blocks is a suspect: it is tried once more while nothing else runs, and
    a block that is given up again has killed its workers.
    """

    def __init__(
        self, client: Any, measurer: CheckpointMeasurer, threads: int, scheduler: str | None
    ) -> None:
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._measurer = measurer
        # Workers of a running cluster see the GPUs that they were started with.
        self._gpus = gpus_of(measurer.resources.device, threads) if scheduler is None else []
        self._scheduler = scheduler
        self._threads = threads
        self._shared = client.submit(_same, measurer, pure=False)
        self._running: dict[Future[xr.Dataset | Failure], Item] = {}
        self._waiting: deque[Item] = deque()
        self._suspects: deque[Item] = deque()
        self._suspected: set[Item] = set()

    @property
    def busy(self) -> Sequence[Future[Any]]:
        return list(self._running)

    def joined(self) -> int:
        """Return how many threads the cluster has more than ever before."""
        threads = sum(self._client.nthreads().values())
        more = max(0, threads - self._threads)
        self._threads += more
        return more

    def add(self, item: Item) -> None:
        block, files = item
        self._waiting.append((block, files.absolute()))
        self._submit()

    def collect(self, ready: set[Future[Any]]) -> Iterator[tuple[Item, Failure | None]]:
        for future in ready & self._running.keys():
            item = self._running.pop(future)
            outcome = self._outcome(item, future)
            if outcome is None:
                self._suspects.append(item)
                self._suspected.add(item)
            self._submit()
            if isinstance(outcome, Failure):
                yield item, outcome
            elif outcome is not None:
                self._measurer.folder.write_block(self._measurer.plan, item[0], outcome)
                yield item, None

    def _outcome(
        self, item: Item, future: Future[xr.Dataset | Failure]
    ) -> xr.Dataset | Failure | None:
        """Return what a worker has sent back; None if the block is to be tried once more."""
        from distributed import KilledWorker

        try:
            return future.result()
        except CancelledError:
            raise CntbenchError(
                "the connection to the Dask scheduler was lost",
                where=self._scheduler,
                hint="Finished checkpoint files are kept: run the same command again to continue.",
            ) from None
        except KilledWorker:
            return Failure.of(killed(), item[0]) if item in self._suspected else None
        except Exception as error:
            return Failure("failed", f"worker died: {type(error).__name__}: {error}")

    def _submit(self) -> None:
        """Send blocks to the cluster: a suspect by itself, all others together."""
        if self._suspects:
            if not self._running:
                self._send(self._suspects.popleft())
        elif self._suspected.isdisjoint(self._running.values()):
            while self._waiting:
                self._send(self._waiting.popleft())

    def _send(self, item: Item) -> None:
        if self._shared.status == "error":  # it was on a worker that died as well
            self._shared = self._client.submit(_same, self._measurer, pure=False)
        work = self._executor.submit(_work, self._shared, *item, self._gpus)
        self._running[work] = item


def _client(stack: ExitStack, jobs: int, scheduler: str | None) -> Any:
    """Return a client; without a scheduler, of a new cluster that ends with the stack.

    It is not the default client: xarray would ask that one's scheduler for a lock at every write.
    """
    from distributed import Client

    if scheduler is None:
        cluster = _cluster(stack, jobs)
        return Client(cluster, set_as_default=False)
    try:
        return Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _no_answer(scheduler, str(error)) from None


def _cluster(stack: ExitStack, jobs: int) -> Any:
    """Return a cluster of this machine that no other machine can reach, without a dashboard.

    It reports a worker's death at once, not only after several.
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
                memory_limit=0,  # the memory budget limits a run
                dashboard_address="127.0.0.1:0",  # a server is started in any case
                scheduler_kwargs={"dashboard": False, "allowed_failures": 0},
                silence_logs=logging.CRITICAL,  # the run itself reports the end of a worker
            )
        )


def _same(measurer: CheckpointMeasurer) -> CheckpointMeasurer:
    """Return what all tasks share: as a task's result it can be had again if its worker dies."""
    return measurer


def _work(
    measurer: CheckpointMeasurer, block: SourceBlock, files: Path, gpus: Sequence[str]
) -> xr.Dataset | Failure:
    if gpus:
        from distributed import get_worker

        use_gpus([gpus[int(get_worker().name) % len(gpus)]])
    with _SETTING:  # it may clear a cache of oneDNN that another thread of the worker uses
        use_one_thread()
    return measurer.measured(block, files)
