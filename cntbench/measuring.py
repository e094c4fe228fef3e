"""Models are measured one after the other, in this process or on several, as they are fetched."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from cntbench.dataset import checkpoint_dataset
from cntbench.failure import Failure
from cntbench.influence import influence
from cntbench.models.decoder import Decoder
from cntbench.models.trajectory import Checkpoint, Subject
from cntbench.plan import Plan
from cntbench.prefetch import Prefetch
from cntbench.processes import worker_context
from cntbench.prompts import Prompts
from cntbench.run_folder import RunFolder

#: A subject, and what came in the way of measuring it.
Measured = tuple[Subject, Failure | None]


class Cells:
    """Measures all tasks and ablations of a plan at one checkpoint, or in an untrained model."""

    def __init__(self, plan: Plan, folder: RunFolder, memory_budget: int) -> None:
        self.plan = plan
        self.folder = folder
        self.memory_budget = memory_budget
        self.prompts = plan.prompts()

    def measure(self, subject: Subject, files: Path) -> None:
        """Measure one model, whose files are in a folder, and keep its shard."""
        checkpoint, model = self.plan.trajectory.read(subject, files)
        dataset = measure(self.plan, self.prompts, checkpoint, model, self.memory_budget)
        self.folder.write_shard(subject, dataset)

    def attempt(self, subject: Subject, files: Path) -> Failure | None:
        """Measure a model; returns why it failed, if it did: it must not cost the others."""
        try:
            self.measure(subject, files)
        except Exception as error:
            return Failure.of(error, files)
        return None


def measure(
    plan: Plan,
    prompts: Sequence[Prompts],
    checkpoint: Checkpoint,
    model: Decoder,
    memory_budget: int = 2**30,
) -> xr.Dataset:
    """Measure all tasks and ablations of a plan at one checkpoint.

    Parameters
    ----------
    plan, prompts
        What to measure, and the plan's prompts.
    checkpoint, model
        Where, and its weights.
    memory_budget
        Memory beyond the model's own [bytes].
    """
    measured = [
        influence(
            model,
            made,
            [entry.method for entry in plan.ablations],
            observe_all=task.spec.observed == "all",
            effects=task.spec.effects,
            seed=plan.study.spec.seed,
            memory_budget=memory_budget,
        )
        for task, made in zip(plan.tasks, prompts, strict=True)
    ]
    return checkpoint_dataset(
        checkpoint,
        plan.trajectory.shape.components,
        [task.name for task in plan.tasks],
        [entry.name for entry in plan.ablations],
        measured,
    )


def in_this_process(cells: Cells, ahead: Prefetch) -> Iterator[Measured]:
    """Measure what is fetched, in its order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    coming = deque(ahead.start())
    try:
        while coming:
            subject, fetched = coming.popleft()
            wait([fetched])
            yield subject, _lost(subject, fetched) or cells.attempt(subject, fetched.result())
            coming.extend(ahead.start())
    finally:
        torch.set_num_threads(threads)


def in_processes(
    plan: Plan, folder: RunFolder, memory_budget: int, ahead: Prefetch, jobs: int
) -> Iterator[Measured]:
    """Measure what is fetched on several processes, in the order in which they are done."""
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=worker_context(),
        initializer=_start_worker,
        initargs=(plan, folder, memory_budget),
    )
    coming: dict[Future[Path], Subject] = {}
    running: dict[Future[Failure | None], Subject] = {}
    try:
        while True:
            coming |= {fetched: subject for subject, fetched in ahead.start()}
            if not coming and not running:
                return
            awaited: list[Future[Any]] = [*coming, *running]
            ready, _ = wait(awaited, return_when=FIRST_COMPLETED)
            for fetched in ready & coming.keys():
                subject = coming.pop(fetched)
                failure = _lost(subject, fetched)
                if failure is None:
                    running[_submitted(pool, subject, fetched.result())] = subject
                else:
                    yield subject, failure
            for done in ready & running.keys():
                subject, crash = running.pop(done), done.exception()
                died = None if crash is None else Failure("failed", f"worker died: {crash}")
                yield subject, died or done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _lost(subject: Subject, fetched: Future[Path]) -> Failure | None:
    """Return why a model's files could not be had, if they could not."""
    error = fetched.exception()
    place = subject.origin if isinstance(subject, Checkpoint) else subject
    return None if error is None else Failure.of(error, place)


def _submitted(pool: ProcessPoolExecutor, subject: Subject, files: Path) -> Future[Failure | None]:
    """Give a model to the workers; if one of them has died, none takes any more."""
    try:
        with _deaf_to_interrupts():
            return pool.submit(_work, subject, files)
    except BrokenProcessPool as error:
        refused: Future[Failure | None] = Future()
        refused.set_exception(error)
        return refused


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C from their first moment: they end with a whole shard."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business, and Ctrl-C does not arrive here
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_cells: Cells


def _start_worker(plan: Plan, folder: RunFolder, memory_budget: int) -> None:
    global _cells
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _cells = Cells(plan, folder, memory_budget)


def _work(subject: Subject, files: Path) -> Failure | None:
    return _cells.attempt(subject, files)
