"""Measure on several processes of this machine, one thread each."""

from __future__ import annotations

from collections.abc import Iterator

from cntbench.models.device import gpus_of, use_gpus
from cntbench.models.trajectory import ModelRef
from cntbench.parallel.processes import Workers, start_worker
from cntbench.results.failure import Failure
from cntbench.runs.executors import serial
from cntbench.runs.executors.loop import Item, measure_models
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.prefetch import Prefetch


def execute(
    measurer: CheckpointMeasurer, ahead: Prefetch, jobs: int
) -> Iterator[tuple[ModelRef, Failure | None]]:
    """Measure on `jobs` processes; in this process if ``jobs == 1``."""
    if jobs == 1:
        yield from serial.execute(measurer, ahead)
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
