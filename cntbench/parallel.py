"""Work on several processes, one thread each; a process that dies costs nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Generic, NamedTuple, Self, TypeVar

import torch

from cntbench.errors import CntbenchError
from cntbench.interrupts import starting_processes

Item = TypeVar("Item")
Result = TypeVar("Result")

#: So many workers may die of an item.
MOST_DEATHS = 2


class WorkerKilledError(CntbenchError):
    """Work that killed every process that tried it."""


def killed() -> WorkerKilledError:
    """Return what is said of such work."""
    return WorkerKilledError(
        "its worker was killed twice (out of memory?)",
        hint="Fewer processes, by --jobs, need less memory.",
    )


class _Task(NamedTuple):
    """An item, and how many workers have died of it."""

    item: Any
    deaths: int = 0


class Workers(Generic[Item, Result]):
    """Processes that work on one item each; one that dies is replaced, and its item tried again.

    Each process is a pool of its own, so that it is known of what it died: the others go on.

    Parameters
    ----------
    work
        What to do with an item; it has to be importable by another process.
    jobs
        Number of processes; they start when there is work for them.
    start, arguments
        Called once in each process.
    finish
        Whether items that are being worked on are finished when the rest is given up.
    """

    def __init__(
        self,
        work: Callable[[Item], Result],
        jobs: int,
        *,
        start: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
        finish: bool = False,
    ) -> None:
        self._work = work
        self._start = start or start_worker
        self._arguments = arguments
        self._finish = finish
        self._context = worker_context()
        self._idle = [self._pool() for _ in range(jobs)]
        self._waiting: deque[_Task] = deque()
        self._busy: dict[Future[Result], tuple[ProcessPoolExecutor, _Task]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._finish:
                wait(self._busy)
        finally:
            for pool in (*self._idle, *(pool for pool, _ in self._busy.values())):
                for process in (pool._processes or {}).values():
                    process.kill()
                pool.shutdown()

    @property
    def busy(self) -> Sequence[Future[Result]]:
        """What is being worked on; when one of them is done, `collect` it."""
        return list(self._busy)

    def add(self, item: Item) -> None:
        """Have an item worked on, as soon as a process is idle."""
        self._waiting.append(_Task(item))
        self._feed()

    def collect(self, ready: set[Future[Any]]) -> Iterator[tuple[Item, Result | WorkerKilledError]]:
        """Yield what became of items that are done, and go on with others.

        Raises
        ------
        Exception
            What the work has raised.
        """
        for done in ready & self._busy.keys():
            pool, task = self._busy.pop(done)
            if not isinstance(done.exception(), BrokenProcessPool):
                self._idle.append(pool)
                self._feed()
                yield task.item, done.result()
                continue
            pool.shutdown()
            self._idle.append(self._pool())
            task = task._replace(deaths=task.deaths + 1)
            if task.deaths < MOST_DEATHS:
                self._waiting.appendleft(task)
            self._feed()
            if task.deaths >= MOST_DEATHS:
                yield task.item, killed()

    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=self._start, initargs=self._arguments
        )

    def _feed(self) -> None:
        """Give idle processes what is waiting."""
        while self._waiting and self._idle:
            with starting_processes():
                try:
                    future = self._idle[-1].submit(self._work, self._waiting[0].item)
                except BrokenProcessPool:  # it died of nothing that was given to it
                    self._idle[-1].shutdown()
                    self._idle[-1] = self._pool()
                    continue
                self._busy[future] = self._idle.pop(), self._waiting.popleft()


def parallel_map(
    work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int
) -> Iterator[Result]:
    """Yield what becomes of each item, in order.

    Parameters
    ----------
    work
        What to do; it has to be importable by another process.
    items
        What to do it to.
    jobs
        Processes; 1 works in this one.

    Raises
    ------
    WorkerKilledError
        If an item kills the processes that work on it.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from map(work, items)
        finally:
            torch.set_num_threads(threads)
        return
    results: dict[int, Result] = {}
    with Workers(_Numbered(work), jobs) as workers:
        for numbered in enumerate(items):
            workers.add(numbered)
        for number in range(len(items)):
            while number not in results:
                ready, _ = wait(workers.busy, return_when=FIRST_COMPLETED)
                for (done, _), result in workers.collect(ready):
                    if isinstance(result, WorkerKilledError):
                        raise result
                    results[done] = result
            yield results.pop(number)


class _Numbered(Generic[Item, Result]):
    """Work on items that have numbers."""

    def __init__(self, work: Callable[[Item], Result]) -> None:
        self._work = work

    def __call__(self, numbered: tuple[int, Item]) -> Result:
        return self._work(numbered[1])


def worker_context() -> BaseContext:
    """Return the way to start workers: with the libraries loaded once for all of them.

    Where the system can fork, workers are forked from a server that has imported what this process
    has imported of cntbench, and transformers' models, and that runs nothing else: they start at
    once and share the libraries' memory. Elsewhere each one imports for itself.

    It returns when the server is ready, and Ctrl-C may interrupt it: to start a worker then takes
    no time.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    loaded = sorted(name for name in sys.modules if name.startswith("cntbench."))
    context.set_forkserver_preload([*loaded, "transformers.modeling_utils", "cntbench._gc_freeze"])
    with starting_processes():
        forkserver.ensure_running()
    first = context.Process(target=os.getpid)
    first.start()  # answered when all is imported
    first.join()
    return context


def start_worker() -> None:
    """Begin a worker: Ctrl-C is the first process's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    end_with_parent()


def end_with_parent() -> None:
    """End this worker when the process that started it ends, however it does: nobody else will."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()
