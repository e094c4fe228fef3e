"""Measure on this machine: in this process, or on several, one thread each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
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
    """Measure on `jobs` processes; in this process if ``jobs == 1``."""
    if jobs == 1:
        yield from _in_this_process(measurer, ahead)
        return
    gpus = gpus_of(measurer.resources.device, jobs)
    with Workers(
        _work, jobs, start=_start, arguments=(measurer,), finish=True, seats=gpus
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


def _in_this_process(
    measurer: CheckpointMeasurer, ahead: Prefetch
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure one block after the other, on one thread."""
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
