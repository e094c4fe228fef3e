"""Parallel work on processes with one thread each; the work of one that dies is retried."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, Self, TypeVar

from threadpoolctl import ThreadpoolController

from cntbench.errors import CntbenchError, warning_text
from cntbench.parallel.interrupts import starting_processes
from cntbench.parallel.server import worker_context
from cntbench.plugins.folders import (
    PluginFolder,
    failure_in_plugin,
    folders_in_use,
    use_from_now_on,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Number of workers that may die of an item.
MOST_DEATHS = 2


class WorkerKilledError(CntbenchError):
    """An item of work killed every process that tried it."""


def killed() -> WorkerKilledError:
    """Return the error for such an item."""
    return WorkerKilledError(
        "its worker was killed twice (out of memory?)",
        hint="Use fewer processes (--jobs), which need less memory.",
    )


class _Task(NamedTuple):
    """An item, and the number of workers that have died of it."""

    item: Any
    deaths: int = 0


class _Start:
    """Initialises a process that works with the folders of plug-ins of this one.

    A process unpickles it, and thereby knows the folders, before anything that they define.
    """

    def __init__(self, folders: tuple[PluginFolder, ...], start: Callable[..., None]) -> None:
        self.folders = folders
        self.start = start

    def __call__(self, *arguments: Any) -> None:
        use_from_now_on(self.folders)
        self.start(*arguments)


class Workers(Generic[Item, Result]):
    """Processes that work on one item each; one that dies is replaced, and its item retried.

    Each process is its own pool, so that the item that killed it is known and the others continue.

    Parameters
    ----------
    work
        Function of an item; it has to be importable by another process.
    jobs
        Number of processes, which start when there is work for them.
    start
        Initialiser of each process.
    finish
        Whether to finish the current items on exit.
    seats
        The argument of the initialiser, for each process and those that replace it.
    ahead
        Whether the work also takes the item that the same process gets next, or None if that is
        not known yet.
    """

    def __init__(
        self,
        work: Callable[..., Result],
        jobs: int,
        *,
        start: Callable[..., None] | None = None,
        finish: bool = False,
        seats: Sequence[Any] = (),
        ahead: bool = False,
    ) -> None:
        self._work = work
        self._start = _Start(folders_in_use(), start or start_worker)
        self._finish = finish
        self._ahead = ahead
        self._context = worker_context()
        self._seats: dict[ProcessPoolExecutor, tuple[Any, ...]] = {}
        self._idle = [self._pool((seat,)) for seat in seats] or [self._pool() for _ in range(jobs)]
        self._waiting: deque[_Task] = deque()
        self._busy: dict[Future[Result], tuple[ProcessPoolExecutor, _Task]] = {}
        self._next: dict[ProcessPoolExecutor, _Task] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        """Futures of the current items, for `collect`."""
        return list(self._busy)

    def add(self, item: Item) -> None:
        """Queue an item until a process is idle."""
        self._waiting.append(_Task(item))
        self._feed()

    def collect(self, ready: set[Future[Any]]) -> Iterator[tuple[Item, Result | WorkerKilledError]]:
        """Yield finished items with their results, or raise their error, and start waiting ones."""
        for future in ready & self._busy.keys():
            pool, task = self._busy.pop(future)
            if not isinstance(future.exception(), BrokenProcessPool):
                self._idle.append(pool)
                self._feed()
                yield task.item, future.result()
                continue
            pool.shutdown()
            if pool in self._next:
                self._waiting.appendleft(self._next.pop(pool))
            self._idle.append(self._pool(self._seats.pop(pool)))
            task = task._replace(deaths=task.deaths + 1)
            if task.deaths < MOST_DEATHS:
                self._waiting.appendleft(task)
            self._feed()
            if task.deaths >= MOST_DEATHS:
                yield task.item, killed()

    def _pool(self, seat: tuple[Any, ...] = ()) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(
            1, mp_context=self._context, initializer=self._start, initargs=seat
        )
        self._seats[pool] = seat
        return pool

    def _feed(self) -> None:
        """Give waiting items to idle processes, and tell each its next one if there are enough.

        Nothing is told where the last process died: only the item itself can be the reason then.
        """
        while self._idle and (self._waiting or self._idle[-1] in self._next):
            pool = self._idle[-1]
            if pool in self._next:
                self._waiting.appendleft(self._next.pop(pool))
            task = self._waiting[0]
            tell = self._ahead and not task.deaths and len(self._waiting) > len(self._idle)
            following = [self._waiting[1].item if tell else None] if self._ahead else []
            with starting_processes():
                try:
                    future = pool.submit(self._work, task.item, *following)
                except BrokenProcessPool:  # it died while idle
                    pool.shutdown()
                    self._idle[-1] = self._pool(self._seats.pop(pool))
                    continue
                # An interrupt is raised afterwards: what has been submitted is noted then.
                self._busy[future] = self._idle.pop(), self._waiting.popleft()
                if tell:
                    self._next[pool] = self._waiting.popleft()


def parallel_map(
    work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int
) -> Iterator[Result]:
    """Yield the result of each item, in order.

    Raises a `WorkerKilledError` if an item kills the processes that work on it.

    Parameters
    ----------
    work
        Function of an item; it has to be importable by another process.
    jobs
        Number of processes; 1 works in this process.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        with one_thread():
            yield from map(work, items)
        return
    results: dict[int, Result] = {}
    with Workers[tuple[int, Item], Result](_Numbered(work), jobs) as workers:
        for numbered in enumerate(items):
            workers.add(numbered)
        for number in range(len(items)):
            while number not in results:
                ready, _ = wait(workers.busy, return_when=FIRST_COMPLETED)
                for (finished, _), result in workers.collect(ready):
                    if isinstance(result, WorkerKilledError):
                        raise result
                    results[finished] = result
            yield results.pop(number)


def _blas() -> ThreadpoolController:
    """Return what sets the threads of numpy's linear algebra, and of scipy's once it is loaded."""
    return _controller("scipy.linalg" in sys.modules)


@cache
def _controller(with_scipy: bool) -> ThreadpoolController:
    """Return what sets the threads of the libraries that are loaded now."""
    import numpy  # noqa: F401  so that it is found

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let numpy's linear algebra, and torch if something may use it, work on one thread.

    The number of threads changes the last bits of large products. Where processes share the
    cores, threads that wait for each other cost more than the products.
    """
    with _blas().limit(limits=1):
        if "torch" not in sys.modules and not folders_in_use():
            yield
            return
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def use_one_thread() -> None:
    """Let this process work on one thread from now on, as `one_thread` does for a while."""
    _blas().limit(limits=1)
    if "torch" in sys.modules:
        import torch

        if torch.get_num_threads() != 1:  # setting it clears a cache of oneDNN
            torch.set_num_threads(1)


class _Numbered(Generic[Item, Result]):
    """A function of numbered items that ignores the number."""

    def __init__(self, work: Callable[[Item], Result]) -> None:
        self._work = work

    def __call__(self, numbered: tuple[int, Item]) -> Result:
        try:
            return self._work(numbered[1])
        except Exception as error:  # another process loses where it was raised
            if (plugin_error := failure_in_plugin(error)) is not None:
                raise plugin_error from error
            raise


def worker_process(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start a process that works by itself, and ends with this one."""
    context: Any = worker_context()
    process: BaseProcess = context.Process(target=work, args=arguments, daemon=True)
    with starting_processes():
        process.start()
    return process


def start_worker() -> None:
    """Initialise a worker, which ignores Ctrl-C: the main process handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.showwarning = print_warning  # type: ignore[assignment]
    os.environ["OMP_NUM_THREADS"] = "1"  # for libraries that the work imports
    use_one_thread()
    end_with_parent()


def print_warning(*warning: Any) -> None:
    """Print a warning of cntbench in one line, without its position in the code."""
    word, text = warning_text(*warning)
    sys.stderr.write(f"{word}: {text}\n" if word else text)


def end_with_parent() -> None:
    """End this worker when its parent process ends, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait_for_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()
