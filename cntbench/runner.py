"""From a plan to a result: one shard per checkpoint, on several processes, resumable."""

from __future__ import annotations

import json
import platform
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from cntbench import __version__
from cntbench.components import feasible
from cntbench.dataset import checkpoint_dataset, failed_dataset, film, usable
from cntbench.failure import Failure
from cntbench.influence import influence
from cntbench.metrics._film import film_metrics
from cntbench.models.decoder import Decoder
from cntbench.models.trajectory import Checkpoint, Progress
from cntbench.plan import Plan
from cntbench.prefetch import Prefetch
from cntbench.processes import worker_context
from cntbench.prompts import Prompts
from cntbench.run_folder import RunFolder
from cntbench.specs import as_dict
from cntbench.storage import write_results

DISAPPEARED = Failure("failed", "the shard disappeared during the run")

LIBRARIES = ("torch", "transformers", "numpy", "xarray", "netCDF4", "networkx")


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Parameters
    ----------
    tree
        The result, as written.
    path
        Where it lies.
    measured, reused
        Numbers of checkpoints.
    failed
        What came in the way, by name of checkpoint.
    """

    tree: xr.DataTree
    path: Path
    measured: int
    reused: int
    failed: dict[str, Failure]


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user stopped the run; whole shards are kept."""

    def __init__(self, done: int, total: int) -> None:
        self.done = done
        self.total = total
        super().__init__(f"{done} of {total} checkpoints are kept")


class Cells:
    """Measures all tasks and ablations of a plan at one checkpoint."""

    def __init__(self, plan: Plan, folder: RunFolder, memory_budget: int) -> None:
        self.plan = plan
        self.folder = folder
        self.memory_budget = memory_budget
        self.prompts = plan.prompts()

    def measure(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Measure one checkpoint, whose files are in a folder, and keep its shard."""
        checkpoint, model = self.plan.trajectory.read(checkpoint, folder)
        dataset = measure(self.plan, self.prompts, checkpoint, model, self.memory_budget)
        self.folder.write_shard(checkpoint.name, dataset)


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


def run(
    plan: Plan,
    path: Path,
    *,
    jobs: int,
    progress: Progress,
    memory_budget: int = 2**30,
    keep: int = 2,
) -> Outcome:
    """Run a study, or what is missing of it.

    Parameters
    ----------
    plan
        What to run.
    path
        Folder of the run. Whole shards in it are used, damaged ones measured again.
    jobs
        Processes to measure on, one thread each; 1 measures in this process.
    progress
        Told about every checkpoint.
    memory_budget
        Memory for each process beyond the model's own [bytes].
    keep
        Downloaded checkpoints that may lie on disk beside those that are being measured.

    Raises
    ------
    CntbenchError
        If the folder cannot be used.
    Interrupted
        On Ctrl-C.
    """
    folder = RunFolder(path)
    with folder.claimed(plan) as plan:
        shards = {c.name: folder.read_shard(c) for c in plan.trajectory.checkpoints}
        missing = [c for c in plan.trajectory.checkpoints if shards[c.name] is None]
        reused = len(shards) - len(missing)
        failed = _measure(plan, folder, missing, reused, jobs, progress, memory_budget, keep)
        for checkpoint in missing:
            if checkpoint.name not in failed:
                shards[checkpoint.name] = folder.read_shard(checkpoint)
        tree = _combine(plan, shards, failed)
        write_results(tree, folder.results)
    return Outcome(tree, folder.results, len(missing) - len(failed), reused, failed)


def _measure(
    plan: Plan,
    folder: RunFolder,
    missing: Sequence[Checkpoint],
    reused: int,
    jobs: int,
    progress: Progress,
    memory_budget: int,
    keep: int,
) -> dict[str, Failure]:
    """Measure checkpoints; returns what came in the way of each that failed."""
    failed: dict[str, Failure] = {}
    jobs = max(1, min(jobs, len(missing)))
    total = reused + len(missing)
    done = reused
    try:
        if missing:
            progress("measuring", done, total)
        with Prefetch(missing, folder.downloads, jobs + keep) as ahead:
            finished = (
                _in_processes(plan, folder, ahead, jobs, memory_budget)
                if jobs > 1
                else _in_this_process(plan, folder, ahead, memory_budget)
            )
            for checkpoint, failure in finished:
                ahead.release(checkpoint)
                done += 1
                if failure is not None:
                    failed[checkpoint.name] = failure
                progress(f"measured {checkpoint.name}", done, total)
    except KeyboardInterrupt:
        raise Interrupted(done - len(failed), total) from None
    return failed


def _in_this_process(
    plan: Plan, folder: RunFolder, ahead: Prefetch, memory_budget: int
) -> Iterator[tuple[Checkpoint, Failure | None]]:
    cells = Cells(plan, folder, memory_budget)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    coming = deque(ahead.start())
    try:
        while coming:
            checkpoint, fetched = coming.popleft()
            wait([fetched])
            failure = _failure(checkpoint, fetched) or _attempt(cells, checkpoint, fetched.result())
            yield checkpoint, failure
            coming.extend(ahead.start())
    finally:
        torch.set_num_threads(threads)


def _in_processes(
    plan: Plan, folder: RunFolder, ahead: Prefetch, jobs: int, memory_budget: int
) -> Iterator[tuple[Checkpoint, Failure | None]]:
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=worker_context(),
        initializer=_start_worker,
        initargs=(plan, folder, memory_budget),
    )
    coming: dict[Future[Path], Checkpoint] = {}
    running: dict[Future[Failure | None], Checkpoint] = {}
    try:
        while True:
            coming |= {fetched: checkpoint for checkpoint, fetched in ahead.start()}
            if not coming and not running:
                return
            awaited: list[Future[Any]] = [*coming, *running]
            ready, _ = wait(awaited, return_when=FIRST_COMPLETED)
            for fetched in ready & coming.keys():
                checkpoint = coming.pop(fetched)
                failure = _failure(checkpoint, fetched)
                if failure is not None:
                    yield checkpoint, failure
                    continue
                with _deaf_to_interrupts():
                    running[_submitted(pool, checkpoint, fetched.result())] = checkpoint
            for done in ready & running.keys():
                checkpoint = running.pop(done)
                crash = done.exception()
                yield (
                    checkpoint,
                    done.result() if crash is None else Failure("failed", f"worker died: {crash}"),
                )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submitted(
    pool: ProcessPoolExecutor, checkpoint: Checkpoint, folder: Path
) -> Future[Failure | None]:
    """Give a checkpoint to the workers; if one has died, none of them takes any more."""
    try:
        return pool.submit(_work, checkpoint, folder)
    except BrokenProcessPool as error:
        refused: Future[Failure | None] = Future()
        refused.set_exception(error)
        return refused


def _failure(checkpoint: Checkpoint, fetched: Future[Path]) -> Failure | None:
    error = fetched.exception()
    return None if error is None else Failure.of(error, checkpoint.origin)


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


def _work(checkpoint: Checkpoint, folder: Path) -> Failure | None:
    return _attempt(_cells, checkpoint, folder)


def _attempt(cells: Cells, checkpoint: Checkpoint, folder: Path) -> Failure | None:
    """Measure a checkpoint; returns why it failed, if it did: it must not cost the others."""
    try:
        cells.measure(checkpoint, folder)
    except Exception as error:
        return Failure.of(error, folder)
    return None


def _combine(
    plan: Plan, shards: dict[str, xr.Dataset | None], failed: dict[str, Failure]
) -> xr.DataTree:
    parts = []
    for checkpoint in plan.trajectory.checkpoints:
        shard = shards[checkpoint.name]
        if shard is None:
            shard = failed_dataset(
                checkpoint,
                plan.trajectory.shape.components,
                [task.name for task in plan.tasks],
                [entry.name for entry in plan.ablations],
                failed.get(checkpoint.name, DISAPPEARED),
            )
        parts.append(shard)
    whole = film(parts, provenance(plan))
    metrics = film_metrics(whole["influence"], usable(whole))
    return xr.DataTree.from_dict({"/": whole, "/metrics": metrics})


def provenance(plan: Plan) -> dict[str, Any]:
    """Return the attributes that say where a result comes from."""
    edges = feasible(plan.trajectory.shape.components)
    return {
        "source": plan.trajectory.identity,
        "history": f"cntbench run {plan.study.name}",
        "study": plan.study.name,
        "spec": json.dumps(plan.identity, sort_keys=True),
        "study_spec": json.dumps(as_dict(plan.study.spec), sort_keys=True),
        "spec_sha256": plan.hash,
        "seed": plan.study.spec.seed,
        "prompts": plan.study.spec.prompts,
        "dtype": "float32",
        "feasible_edges": int(edges.sum()),
        "library_versions": json.dumps(
            {"cntbench": __version__} | {name: version(name) for name in LIBRARIES}
        ),
        "python_version": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
