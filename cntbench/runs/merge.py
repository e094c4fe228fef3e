"""Merge the folders of a study's shards, measured on different machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cntbench.errors import CntbenchError, listed
from cntbench.models.trajectory import ModelRef
from cntbench.parallel import Progress
from cntbench.results.failure import Failure
from cntbench.results.storage import distinct_files
from cntbench.runs.catalogue import Catalogue
from cntbench.runs.folder import REQUEST, RunFolder
from cntbench.runs.identity import differing
from cntbench.runs.plan import Plan, make_plan
from cntbench.runs.run import Outcome, combine, counts

#: Most differences that an error names.
_NAMED = 5


def merge(
    catalogue: Catalogue, paths: Sequence[Path], path: Path, *, jobs: int, progress: Progress
) -> Outcome:
    """Collect the valid checkpoint files of several folders, and combine them as a run does.

    Raises a `CntbenchError` if a folder is not that of a run, belongs to another study than the
    first, or does not match the specs and the trajectory as they are now.

    Parameters
    ----------
    paths
        Folders of shards, or of unfinished runs.
    path
        Folder of the result; it may be one of them.

    Returns
    -------
    Outcome
        Of a run that has measured nothing. Models without a checkpoint file count as failed, for
        the reason that a folder records.
    """
    sources = [RunFolder(source) for source in distinct_files(paths)]
    plan = _plan(catalogue, sources, progress)
    folder = RunFolder(path)
    with folder.locked(plan) as plan:
        missing = [model for model in plan.subjects if not _adopted(plan, model, sources, folder)]
        failed = {model.label: _reason(plan, model, sources) for model in missing}
        datasets = {model: folder.read_checkpoint_file(plan, model) for model in plan.subjects}
        tree = combine(plan, folder, datasets, failed, jobs=jobs, progress=progress)
    return Outcome(*counts(plan.subjects, missing, failed), failed, tree, folder.results)


def _plan(catalogue: Catalogue, sources: Sequence[RunFolder], progress: Progress) -> Plan:
    """Return the plan that all of the folders belong to."""
    first, *others = [source.request() for source in sources]
    for source, other in zip(sources[1:], others, strict=True):
        differences = _differing(first, other)
        if differences:
            raise CntbenchError(
                f"belongs to another study than {sources[0].path}; different: "
                + listed(differences, _NAMED),
                where=str(source.path),
                hint="Merge folders that the same command has written, except for --shard and -o.",
            )
    where = str(sources[0].path / REQUEST)
    entry = catalogue.changed_study(first["study"], first["spec"], where=where)
    plan = make_plan(catalogue, entry, progress)
    return sources[0].check(plan)


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two folders differ, except checkpoints unknown to one of them."""
    a, b = first["checkpoints"], second["checkpoints"]
    unknown = {f"checkpoints.{name}" for name in {*a} & {*b} if not (a[name] and b[name])}
    return [key for key in differing(first, second) if key not in unknown]


def _adopted(
    plan: Plan, subject: ModelRef, sources: Sequence[RunFolder], folder: RunFolder
) -> bool:
    """Return whether a model has a checkpoint file, copied from the first folder that has one."""
    return folder.read_checkpoint_file(plan, subject) is not None or any(
        folder.adopt(plan, subject, source) for source in sources
    )


def _reason(plan: Plan, subject: ModelRef, sources: Sequence[RunFolder]) -> Failure:
    """Return why a model has no checkpoint file."""
    known = (source.read_failure(plan, subject) for source in sources)
    refused = any(source.checkpoint_file(subject).is_file() for source in sources)
    missing = Failure(
        "failed",
        "none of the merged folders has a valid checkpoint file of it"
        + (" (a file there is damaged, or of another run)" if refused else ""),
    )
    return next((failure for failure in known if failure is not None), missing)
