"""From a plan to a result: one checkpoint file per checkpoint, on any executor, resumable."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import xarray as xr

from cntbench.analysis.derived import NullDraws, derived
from cntbench.analysis.verdicts import earlier_verdicts, verdicts
from cntbench.components import feasible
from cntbench.errors import ParityError, warn
from cntbench.files.attributes import __version__
from cntbench.models.device import check_precision
from cntbench.models.trajectory import Checkpoint, ModelRef, Untrained
from cntbench.parallel import Progress
from cntbench.plugins import sources_attribute
from cntbench.results.checking import valid_tree
from cntbench.results.failure import Failure, Mismatch
from cntbench.results.film import film, unmeasured, untrained_group
from cntbench.results.group_schema import GROUPS
from cntbench.results.storage import write_atomically, write_results
from cntbench.results.tree import groups_of, result_tree
from cntbench.runs.executors import processes
from cntbench.runs.folder import RunFolder
from cntbench.runs.known_edges import known_edges
from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.runs.plan import Plan
from cntbench.runs.prefetch import Prefetch
from cntbench.runs.resources import DEFAULT_RESOURCES, Resources

#: What measures the models that are fetched ahead, on a number of processes.
Execute = Callable[[CheckpointMeasurer, Prefetch, int], Iterator[tuple[ModelRef, Failure | None]]]

DISAPPEARED = Failure("failed", "the checkpoint file disappeared during the run")

#: Groups with the recovery of known edges, and with circuits that a user has added.
COMPARISON, CIRCUITS = "comparison", "faithfulness"
LIBRARIES = ("torch", "transformers", "numpy", "xarray", "netCDF4", "networkx")


@dataclass(frozen=True)
class Measured:
    """What a run has measured."""

    measured: int
    reused: int
    failed: dict[str, Failure]


@dataclass(frozen=True)
class Outcome(Measured):
    """The outcome of a run.

    Parameters
    ----------
    models, seconds
        Number of checkpoints and untrained models that were measured now, and how long that took,
        with downloads [s].
    """

    tree: xr.DataTree
    path: Path
    models: int = 0
    seconds: float = 0.0


class Interrupted(Exception):  # noqa: N818 - not an error: the user wants it
    """The user stopped the run; finished checkpoint files are kept."""

    def __init__(self, done: int, total: int, of: str = "") -> None:
        self.done = done
        self.total = total
        noun, are = ("checkpoint", "is") if total == 1 else ("checkpoints", "are")
        super().__init__(f"{done} of {total} {noun}{of and f' of {of}'} {are} kept")


def run(
    plan: Plan,
    path: Path,
    *,
    jobs: int,
    progress: Progress,
    resources: Resources = DEFAULT_RESOURCES,
    execute: Execute = processes.execute,
) -> Outcome:
    """Run a study, or complete an earlier run of it.

    Parameters
    ----------
    path
        Folder of the run. Valid checkpoint files in it are reused, damaged ones measured again.
    jobs
        Processes; 1 measures in this process, unless on a GPU.
    execute
        The ``execute`` of a file of `cntbench.runs.executors`.

    Raises
    ------
    CntbenchError
        If the folder cannot be used; a `ParityError` if cntbench does not compute the model as
        transformers does.
    Interrupted
        On Ctrl-C.
    """
    check_precision(resources.device, plan.study.spec.dtype)
    folder = RunFolder(path)
    with folder.locked(plan) as plan, _interruptible(folder, plan.trajectory.checkpoints):
        subjects = plan.subjects
        datasets = {subject: folder.read_checkpoint_file(plan, subject) for subject in subjects}
        missing = [subject for subject in subjects if datasets[subject] is None]
        if plan.trajectory.finish is not None:  # available checkpoints come first
            missing.sort(key=lambda subject: isinstance(subject, Checkpoint))
        measurer = CheckpointMeasurer(plan, folder, resources)

        def read(*arguments: Any) -> Iterator[tuple[ModelRef, Failure | None]]:
            """Execute, and read each checkpoint file while the workers measure others."""
            for subject, failure in execute(*arguments):
                if failure is None:
                    datasets[subject] = folder.read_checkpoint_file(plan, subject)
                yield subject, failure

        start = time.perf_counter()
        failed = _measure(measurer, missing, len(subjects), jobs, progress, read)
        seconds = time.perf_counter() - start
        if plan.trajectory.finish is not None:
            plan = folder.record(plan.finished())
            datasets = dict(zip(plan.subjects, datasets.values(), strict=True))
        tree = combine(plan, folder, datasets, failed, jobs=jobs, progress=progress)
    numbers = counts(subjects, missing, failed)
    models = len(missing) - len(failed)
    return Outcome(*numbers, failed, tree, folder.results, models, seconds)


def run_shard(
    plan: Plan,
    folder: RunFolder,
    *,
    jobs: int,
    progress: Progress,
    resources: Resources = DEFAULT_RESOURCES,
    execute: Execute = processes.execute,
) -> Measured:
    """Measure the shard of a folder, by default all, or complete it, without combining anything.

    Parameters and errors are those of `run`. Several shards may use one folder at the same time.
    """
    check_precision(resources.device, plan.study.spec.dtype)
    with folder.locked(plan) as plan:
        subjects = folder.shard.among(plan.subjects) if folder.shard else plan.subjects
        checkpoints = [subject for subject in subjects if isinstance(subject, Checkpoint)]
        with _interruptible(folder, checkpoints):
            missing = [
                subject
                for subject in subjects
                if folder.read_checkpoint_file(plan, subject) is None
            ]
            measurer = CheckpointMeasurer(plan, folder, resources)
            failed = _measure(measurer, missing, len(subjects), jobs, progress, execute)
            for subject in subjects:
                folder.write_failure(plan, subject, failed.get(subject.label))
    return Measured(*counts(subjects, missing, failed), failed)


def counts(
    subjects: Sequence[ModelRef], missing: Sequence[ModelRef], failed: Mapping[str, Failure]
) -> tuple[int, int]:
    """Return how many checkpoints were measured, and how many were reused."""
    checkpoints, unmeasured = (
        [model.name for model in models if isinstance(model, Checkpoint)]
        for models in (subjects, missing)
    )
    return len({*unmeasured} - {*failed}), len(checkpoints) - len(unmeasured)


@contextmanager
def _interruptible(folder: RunFolder, checkpoints: Sequence[Checkpoint]) -> Iterator[None]:
    """Raise `Interrupted` on Ctrl-C, with the number of checkpoints that are kept."""
    try:
        yield
    except KeyboardInterrupt:
        done = sum(folder.checkpoint_file(checkpoint).is_file() for checkpoint in checkpoints)
        raise Interrupted(done, len(checkpoints)) from None


def combine(
    plan: Plan,
    folder: RunFolder,
    datasets: Mapping[ModelRef, xr.Dataset | None],
    failed: Mapping[str, Failure],
    *,
    jobs: int,
    progress: Progress,
) -> xr.DataTree:
    """Join checkpoint files, compute the derived groups, and write the result.

    Parameters
    ----------
    datasets
        Datasets of all checkpoints and untrained models; None for those that failed.
    failed
        Why these could not be measured, by label.
    """
    root, untrained = join_checkpoints(plan, datasets, failed)
    draws = NullDraws(plan.study.spec.seed, plan.study.spec.null_draws, jobs, progress)
    earlier = folder.read_results()
    groups = derived(root, untrained, draws, earlier=earlier)
    if plan.claims and draws.count:
        groups |= verdicts(root, untrained, plan.claims, draws, earlier=earlier)
    else:
        groups |= earlier_verdicts(root, untrained, earlier)
    comparison = known_edges(plan, jobs=jobs, progress=progress)
    if comparison is not None:
        groups[COMPARISON] = comparison
    tree = result_tree({"/": root, **groups, **_added(earlier, root, folder)})
    write_results(tree, folder.results)
    return tree


def _added(
    earlier: xr.DataTree | None, root: xr.Dataset, folder: RunFolder
) -> dict[str, xr.Dataset]:
    """Return the groups that users have added to an earlier result, if they fit the film.

    The earlier result is kept as well if some do not fit: it may be of other checkpoints.
    """
    added = {
        node.path: node.to_dataset(inherit=False)
        for node in (() if earlier is None else earlier.descendants)
        if node.path.split("/")[1] not in {*GROUPS} - {CIRCUITS}
    }
    if not added:
        return {}
    numbered = (folder.results.with_stem(f"{folder.results.stem}-{n}") for n in count(1))
    copy = next(path for path in numbered if not path.exists())
    where = f"{folder.results}, now {copy.name}"
    fitting = groups_of(valid_tree({"/": root, **added}, where))
    circuits = fitting.get(f"/{CIRCUITS}")
    if circuits is not None and circuits.attrs.get("revision") not in root["revision"].values:
        warn(f"{where}: group {CIRCUITS!r} is left out: it is of a checkpoint that is left out.")
        del fitting[f"/{CIRCUITS}"]
    kept = {path: fitting[path] for path in added if path in fitting}
    if len(kept) < len(added):
        content = folder.results.read_bytes()
        write_atomically(copy, lambda path: path.write_bytes(content))
    return kept


def _measure(
    measurer: CheckpointMeasurer,
    missing: Sequence[ModelRef],
    total: int,
    jobs: int,
    progress: Progress,
    execute: Execute,
) -> dict[str, Failure]:
    """Measure the missing models of a total, and return why any of them failed."""
    failed: dict[str, Failure] = {}
    done = total - len(missing)
    plan, folder = measurer.plan, measurer.folder
    jobs = max(1, min(jobs, len(missing) * plan.blocks))
    if missing:
        progress("measuring", done, total)
    resources = measurer.resources
    models = (2 * jobs if resources.copies_ahead else jobs) + resources.keep
    with Prefetch(missing, plan.trajectory.fetch, folder.downloads, models) as ahead:
        for subject, failure in execute(measurer, ahead, jobs):
            ahead.release(subject)
            done += 1
            if isinstance(failure, Mismatch):
                checkpoint = f"{plan.trajectory.identity}, {subject.name}"
                raise ParityError(failure.reason, where=checkpoint)
            if failure is not None:
                failed[subject.label] = failure
            kind = "" if isinstance(subject, Untrained) else "checkpoint "
            progress(f"measured {kind}{subject.label}", done, total)
    return failed


def join_checkpoints(
    plan: Plan, datasets: Mapping[ModelRef, xr.Dataset | None], failed: Mapping[str, Failure]
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Return the film, and the untrained models that could be measured, as `combine` takes them."""
    parts = []
    for checkpoint in plan.trajectory.checkpoints:
        dataset = datasets[checkpoint]
        if dataset is None:
            dataset = unmeasured(checkpoint, plan.axes, failed.get(checkpoint.name, DISAPPEARED))
        parts.append(dataset)
    untrained = {
        model.seed: dataset for model in plan.untrained if (dataset := datasets[model]) is not None
    }
    attributes = provenance(plan) | _measured_on(parts)
    return film(parts, attributes), untrained_group(untrained) if untrained else None


def _measured_on(parts: Sequence[xr.Dataset]) -> dict[str, str]:
    """Return devices, determinism settings and parity that the checkpoint files record."""
    recorded = {
        name: "; ".join(sorted({part.attrs[name] for part in parts if name in part.attrs}))
        for name in ("device", "determinism")
    }
    parity = [part.attrs["parity"] for part in parts if "parity" in part.attrs]
    return recorded | ({"parity": parity[0]} if parity else {})


def provenance(plan: Plan) -> dict[str, Any]:
    """Return the attributes of a result's provenance."""
    edges = feasible(plan.trajectory.shape.components)
    return {
        "source": plan.trajectory.identity,
        "history": plan.study.command,
        "study": plan.study.name,
        "spec": json.dumps(plan.identity, sort_keys=True),
        "study_spec": json.dumps(plan.study_spec, sort_keys=True),
        "spec_sha256": plan.hash,
        "seed": plan.study.spec.seed,
        "prompts": max(map(len, plan.prompts)),
        "dtype": plan.study.spec.dtype,
        "feasible_edges": int(edges.sum()),
        "library_versions": json.dumps(
            {"cntbench": __version__} | {name: version(name) for name in LIBRARIES}
        ),
        "python_version": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **sources_attribute(plan.sources),
    }
