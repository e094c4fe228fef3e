"""Work on several processes, one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Sequence[Item], *, jobs: int) -> Iterator[Result]:
    """Yield what becomes of each item, in order.

    Parameters
    ----------
    work
        What to do; it has to be importable by another process.
    items
        What to do it to.
    jobs
        Processes; 1 works in this one.
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
    pool = ProcessPoolExecutor(jobs, mp_context=worker_context(), initializer=_start_worker)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


#: What a run's workers share, imported in this order.
PRELOADED = ["cntbench.runner", "transformers.modeling_utils", "cntbench.freeze"]


def worker_context() -> BaseContext:
    """Return the way to start workers: with the libraries loaded once for all of them.

    Where the system can fork, workers are forked from a server that has imported what a run needs,
    transformers' models for untrained ones among it, and that runs nothing else: they start at once
    and share the libraries' memory. Elsewhere each one imports for itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's business
    torch.set_num_threads(1)
    end_with_parent()


def end_with_parent() -> None:
    """End this worker when the process that started it ends, however it does: nobody else will."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
