"""Folders of one study, measured by shards on machines that know nothing of each other, united."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cntbench.errors import CntbenchError
from cntbench.models.trajectory import ModelRef, Progress
from cntbench.results.failure import Failure
from cntbench.results.storage import distinct_files
from cntbench.runs.catalogue import Catalogue
from cntbench.runs.folder import REQUEST, RunFolder
from cntbench.runs.plan import Plan, differing, make_plan
from cntbench.runs.run import Outcome, combine, counts

#: At most so many differences are named in an error.
_NAMED = 5


def merge(
    catalogue: Catalogue, paths: Sequence[Path], path: Path, *, jobs: int, progress: Progress
) -> Outcome:
    """Unite whole checkpoint files of several folders and put them together as a run does.

    Parameters
    ----------
    catalogue
        The specs that the study was measured by.
    paths
        Folders of shards, or of runs that were not finished.
    path
        Folder of the result; it may be one of them.
    jobs
        Processes that work out what follows from the checkpoint files.
    progress
        Told about every part of that.

    Returns
    -------
    Outcome
        As of a run that has measured nothing. What no folder has a checkpoint file of is among the failed:
        with what came in its way, if a folder says so.

    Raises
    ------
    CntbenchError
        If one of the folders is not that of a run, or belongs to another study than the first, or
        the study is not what the specs and the trajectory make of it now.
    """
    sources = [RunFolder(each) for each in distinct_files(paths)]
    plan = _plan(catalogue, sources, progress)
    folder = RunFolder(path)
    with folder.locked(plan) as plan:
        without = [each for each in plan.subjects if not _adopted(plan, each, sources, folder)]
        failed = {each.label: _reason(plan, each, sources) for each in without}
        datasets = {each: folder.read_checkpoint_file(plan, each) for each in plan.subjects}
        tree = combine(plan, folder, datasets, failed, jobs=jobs, progress=progress)
    return Outcome(*counts(plan.subjects, without, failed), failed, tree, folder.results)


def _plan(catalogue: Catalogue, sources: Sequence[RunFolder], progress: Progress) -> Plan:
    """Return the plan whose folders all of them are."""
    first, *others = [source.request() for source in sources]
    for source, other in zip(sources[1:], others, strict=True):
        differences = _differing(first, other)
        if differences:
            raise CntbenchError(
                f"belongs to another study than {sources[0].path}; different: "
                f"{listed(differences, _NAMED)}",
                where=str(source.path),
                hint="Merge folders that the same command has written, but for --shard and -o.",
            )
    where = str(sources[0].path / REQUEST)
    entry = catalogue.amend(catalogue.study(first["study"]), first["spec"], where=where)
    plan = make_plan(catalogue, entry, progress)
    return sources[0].check(plan)


def _differing(mine: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return in what two folders differ, but for checkpoints that one of them knew nothing of."""
    ours, theirs = mine["checkpoints"], other["checkpoints"]
    unknown = {name for name in {*ours} & {*theirs} if not (ours[name] and theirs[name])}
    differences = differing(mine, other)
    return [key for key in differences if key.removeprefix("checkpoints.") not in unknown]


def _adopted(
    plan: Plan, subject: ModelRef, sources: Sequence[RunFolder], folder: RunFolder
) -> bool:
    """Take over a subject's checkpoint file from the first folder that has a whole one."""
    return folder.read_checkpoint_file(plan, subject) is not None or any(
        folder.adopt(plan, subject, source) for source in sources
    )


def _reason(plan: Plan, subject: ModelRef, sources: Sequence[RunFolder]) -> Failure:
    """Return why there is no checkpoint file of a subject."""
    known = (source.read_failure(plan, subject) for source in sources)
    refused = any(source.checkpoint_file(subject).is_file() for source in sources)
    missing = Failure(
        "failed",
        "none of the merged folders has a whole checkpoint file of it"
        + (" (a file there is damaged, or of another run)" if refused else ""),
    )
    return next((failure for failure in known if failure is not None), missing)
