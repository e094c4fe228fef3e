"""From a plan to a result: one shard per checkpoint, on several processes, resumable."""

from __future__ import annotations

import json
import platform
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from cntbench import __version__
from cntbench.components import feasible
from cntbench.dataset import checkpoint_dataset, failed_dataset, film, untrained_group
from cntbench.derived import derived
from cntbench.influence import influence
from cntbench.models.decoder import Decoder
from cntbench.models.trajectory import Checkpoint, Progress, Subject, Untrained
from cntbench.plan import Plan
from cntbench.processes import worker_context
from cntbench.prompts import Prompts
from cntbench.run_folder import RunFolder
from cntbench.specs import as_dict
from cntbench.storage import write_results
from cntbench.verdicts import verdicts

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
        Reason by name of checkpoint or untrained model.
    """

    tree: xr.DataTree
    path: Path
    measured: int
    reused: int
    failed: dict[str, str]


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user stopped the run; whole shards are kept."""

    def __init__(self, done: int, total: int) -> None:
        self.done = done
        self.total = total
        super().__init__(f"{done} of {total} checkpoints are kept")


class Cells:
    """Measures all tasks and ablations of a plan at one checkpoint, or in an untrained model."""

    def __init__(self, plan: Plan, folder: RunFolder, memory_budget: int) -> None:
        self.plan = plan
        self.folder = folder
        self.memory_budget = memory_budget
        self.prompts = plan.prompts()

    def measure(self, subject: Subject) -> None:
        """Measure one model and keep its shard."""
        trajectory = self.plan.trajectory
        checkpoint, model = (
            trajectory.initialise(subject)
            if isinstance(subject, Untrained)
            else (subject, trajectory.load(subject))
        )
        dataset = measure(self.plan, self.prompts, checkpoint, model, self.memory_budget)
        self.folder.write_shard(subject, dataset)


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
    plan: Plan, path: Path, *, jobs: int, progress: Progress, memory_budget: int = 2**30
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

    Raises
    ------
    CntbenchError
        If the folder cannot be used.
    Interrupted
        On Ctrl-C.
    """
    folder = RunFolder(path)
    checkpoints = plan.trajectory.checkpoints
    with folder.claimed(plan):
        subjects: tuple[Subject, ...] = (*checkpoints, *plan.untrained)
        shards = {subject: folder.read_shard(subject) for subject in subjects}
        missing = [subject for subject in subjects if shards[subject] is None]
        try:
            failed = _measure(plan, folder, missing, len(subjects), jobs, progress, memory_budget)
            for subject in missing:
                if subject.name not in failed:
                    shards[subject] = folder.read_shard(subject)
            root, untrained = _combine(plan, shards, failed)
            chance: dict[str, Any] = {
                "seed": plan.study.spec.seed,
                "draws": plan.study.spec.null_draws,
                "jobs": jobs,
                "progress": progress,
                "earlier": folder.read_results(),
            }
            groups = derived(root, untrained, **chance)
            if plan.claims and chance["draws"]:
                groups |= verdicts(root, untrained, plan.claims, **chance)
        except KeyboardInterrupt:
            kept = sum(folder.shard(checkpoint).is_file() for checkpoint in checkpoints)
            raise Interrupted(kept, len(checkpoints)) from None
        tree = xr.DataTree.from_dict({"/": root, **groups})
        write_results(tree, folder.results)
    measured = [subject.name for subject in missing if isinstance(subject, Checkpoint)]
    lost = len(set(measured) & set(failed))
    reused = len(checkpoints) - len(measured)
    return Outcome(tree, folder.results, len(measured) - lost, reused, failed)


def _measure(
    plan: Plan,
    folder: RunFolder,
    missing: Sequence[Subject],
    total: int,
    jobs: int,
    progress: Progress,
    memory_budget: int,
) -> dict[str, str]:
    """Measure what is missing of a total; returns the reason for each that failed."""
    failed: dict[str, str] = {}
    done = total - len(missing)
    if missing:
        progress("measuring", done, total)
    finished = (
        _in_processes(plan, folder, missing, min(jobs, len(missing)), memory_budget)
        if jobs > 1 and len(missing) > 1
        else _in_this_process(plan, folder, missing, memory_budget)
    )
    for subject, reason in finished:
        done += 1
        if reason is not None:
            failed[subject.name] = reason
        progress(f"measured {subject.name}", done, total)
    return failed


def _in_this_process(
    plan: Plan, folder: RunFolder, missing: Sequence[Subject], memory_budget: int
) -> Iterator[tuple[Subject, str | None]]:
    cells = Cells(plan, folder, memory_budget)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for subject in missing:
            yield subject, _attempt(cells, subject)
    finally:
        torch.set_num_threads(threads)


def _in_processes(
    plan: Plan, folder: RunFolder, missing: Sequence[Subject], jobs: int, memory_budget: int
) -> Iterator[tuple[Subject, str | None]]:
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=worker_context(),
        initializer=_start_worker,
        initargs=(plan, folder, memory_budget),
    )
    try:
        with _deaf_to_interrupts():
            running: dict[Future[str | None], Subject] = {
                pool.submit(_work, subject): subject for subject in missing
            }
        while running:
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                subject = running.pop(future)
                crash = future.exception()
                yield subject, future.result() if crash is None else f"worker died: {crash}"
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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


def _work(subject: Subject) -> str | None:
    return _attempt(_cells, subject)


def _attempt(cells: Cells, subject: Subject) -> str | None:
    """Measure a model; returns why it failed, if it did: it must not cost the others."""
    try:
        cells.measure(subject)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _combine(
    plan: Plan, shards: Mapping[Subject, xr.Dataset | None], failed: Mapping[str, str]
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Return the film, and the untrained models that could be measured."""
    parts = []
    for checkpoint in plan.trajectory.checkpoints:
        shard = shards[checkpoint]
        if shard is None:
            shard = failed_dataset(
                checkpoint,
                plan.trajectory.shape.components,
                [task.name for task in plan.tasks],
                [entry.name for entry in plan.ablations],
                failed.get(checkpoint.name, "the shard disappeared during the run"),
            )
        parts.append(shard)
    others = {model.seed: shards[model] for model in plan.untrained}
    measured = {seed: shard for seed, shard in others.items() if shard is not None}
    return film(parts, provenance(plan)), untrained_group(measured) if measured else None


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
