"""Measure on this machine: in this process, or on several, one thread each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from cntbench.models.device import gpus_of, use_gpus
from cntbench.models.trajectory import ModelRef
from cntbench.parallel.processes import Workers, one_thread, start_worker
from cntbench.results.failure import Failure
from cntbench.runs.executors.loop import Item, measure_models
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.prefetch import Prefetch


def execute(
    measurer: CheckpointMeasurer, ahead: Prefetch, jobs: int
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on `jobs` processes; in this process if ``jobs == 1``, unless on a GPU.

    Each process of a GPU has two threads: one measures, the other one reads and copies the next
    model.
    """
    gpus = gpus_of(measurer.resources.device, jobs)
    copies_ahead = measurer.resources.copies_ahead
    if jobs == 1 and not copies_ahead:
        yield from execute_here(measurer, ahead)
        return
    work, start = (_work_ahead, _start_ahead) if copies_ahead else (_work, _start)
    with Workers[Item, Failure | None](
        work, jobs, start=partial(start, measurer), finish=True, seats=gpus, ahead=copies_ahead
    ) as workers:
        yield from measure_models(measurer, ahead, workers)


_measurer: CheckpointMeasurer


def _start(measurer: CheckpointMeasurer, gpu: str | None = None) -> None:
    global _measurer
    start_worker()
    if gpu is not None:
        use_gpus([gpu])
    _measurer = measurer


def _work(item: Item) -> Failure | None:
    return _measurer.attempt(*item)


_threads: ThreadPoolExecutor
_begun: dict[Item, Future[Failure | None]]


def _start_ahead(measurer: CheckpointMeasurer, gpu: str | None = None) -> None:
    global _threads, _begun
    _start(measurer, gpu)
    _threads = ThreadPoolExecutor(2)  # their number of threads of torch is that of the process
    _begun = {}


def _work_ahead(item: Item, following: Item | None) -> Failure | None:
    attempt = _begun.pop(item, None) or _threads.submit(_measurer.attempt, *item)
    if following is not None:
        _begun[following] = _threads.submit(_measurer.attempt, *following)
    return attempt.result()


def execute_here(
    measurer: CheckpointMeasurer, ahead: Prefetch, jobs: int = 1
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure one block after the other in this process, on one thread, whatever `jobs` is."""
    with one_thread():
        yield from measure_models(measurer, ahead, _ThisProcess(measurer), in_order=True)


class _ThisProcess:
    """Measures blocks when they are collected."""

    busy: tuple[Future[Any], ...] = ()

    def __init__(self, measurer: CheckpointMeasurer) -> None:
        self._measurer = measurer
        self._waiting: deque[Item] = deque()

    def add(self, item: Item) -> None:
        self._waiting.append(item)

    def collect(self, ready: set[Future[Any]]) -> Iterator[tuple[Item, Failure | None]]:
        while self._waiting:
            item = self._waiting.popleft()
            yield item, self._measurer.attempt(*item)
