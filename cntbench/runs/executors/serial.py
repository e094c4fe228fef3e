"""Measure in this process, one block after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import torch

from cntbench.models.trajectory import ModelRef
from cntbench.results.failure import Failure
from cntbench.runs.executors.loop import Item, measure_models
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.prefetch import Prefetch


def execute(
    measurer: CheckpointMeasurer, ahead: Prefetch, jobs: int = 1
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on one thread, whatever `jobs` says."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from measure_models(measurer, ahead, _ThisProcess(measurer), in_order=True)
    finally:
        torch.set_num_threads(threads)


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
