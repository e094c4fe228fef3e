"""``cntbench compare``: from names to the comparison, and its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from cntbench.analysis.diagnostics import diagnostics
from cntbench.analysis.recovery import recovery
from cntbench.comparison.files import FILES_TITLE, compare_files, refuse_beside_results
from cntbench.comparison.table import TITLE, comparison
from cntbench.comparison.trained import measure_trained
from cntbench.errors import CntbenchError, StorageError
from cntbench.models.trajectory import Progress
from cntbench.output import FileKind, check_output, file_status, has_attribute, is_folder
from cntbench.results.group_schema import GROUPS, validate_contents
from cntbench.results.storage import read_netcdf, write_netcdf
from cntbench.runs.catalogue import Catalogue, load_catalogue
from cntbench.runs.known_circuits import measure_planted
from cntbench.runs.launch import Checkpoints
from cntbench.runs.plan import make_plan

#: The study that is compared by default.
STUDY = "compare"
#: What `write_comparison` writes.
COMPARISON = FileKind(
    "a comparison of ablation methods", has_attribute("title", TITLE, FILES_TITLE)
)
_MAKE = "Make one: cntbench compare -o FILE."


def compare(
    results: Sequence[Path],
    changes: Mapping[str, Any],
    *,
    circuits: Sequence[str] | None,
    checkpoints: Checkpoints,
    specs: Sequence[Path],
    progress: Progress,
    jobs: int,
    where: str = "command line",
) -> xr.Dataset:
    """Compare the ablations of result files, or measure them if there are no files.

    Parameters
    ----------
    results
        The files, as `cntbench.comparison.files.compare_files` takes them.
    specs
        Folders of the user's specs.
    changes, circuits, checkpoints, progress, jobs, where
        As `compare_ablations` takes them.

    Raises
    ------
    CntbenchError
        As those two functions, and if there are both files and options of a measurement.
    """
    if results:
        refuse_beside_results(changes if circuits is None else {**changes, "circuits": circuits})
        return compare_files(results)
    return compare_ablations(
        load_catalogue(specs),
        changes,
        circuits=circuits,
        checkpoints=checkpoints,
        progress=progress,
        jobs=jobs,
        where=where,
    )


def compare_ablations(
    catalogue: Catalogue,
    changes: Mapping[str, Any],
    *,
    circuits: Sequence[str] | None = None,
    checkpoints: Checkpoints,
    progress: Progress,
    jobs: int,
    where: str = "command line",
) -> xr.Dataset:
    """Compare ablations on planted circuits and on a trained trajectory.

    Parameters
    ----------
    catalogue
        The specs.
    changes
        Keys of the study ``compare`` with other values.
    circuits
        Names of planted circuits; by default all without dynamics.
    checkpoints
        How many, spread over the trajectory; or which, as a study chooses them.
    progress, jobs
        Receives progress; number of processes.
    where
        Origin of the changes, for messages.

    Raises
    ------
    CntbenchError
        If a name is unknown, or the trajectory cannot be measured.
    """
    known_circuits = catalogue.known_circuits(circuits)
    count = _count(checkpoints)
    chosen = {} if count else {"checkpoints": checkpoints}
    study = catalogue.amend(catalogue.study(STUDY), {**changes, **chosen}, where=where)
    plan = make_plan(catalogue, study, progress)
    recovered, diagnosed = measure_planted(
        plan.study, plan.ablations, known_circuits, progress=progress, jobs=jobs
    )
    count = count or len(plan.trajectory.checkpoints)
    trained = measure_trained(plan, checkpoints=count, progress=progress, jobs=jobs)
    dataset = comparison(
        trained,
        recovery(recovered) if recovered else None,
        diagnostics(diagnosed) if diagnosed else None,
        seed=plan.study.spec.seed,
    )
    dataset.attrs["source"] = plan.trajectory.identity
    dataset.attrs["prompts"] = plan.study.spec.prompts
    dataset.attrs["seed"] = plan.study.spec.seed
    return dataset


def _count(checkpoints: Checkpoints) -> int | None:
    """Return how many checkpoints a number alone asks for; None for a choice of them."""
    alone = isinstance(checkpoints, int) or (
        isinstance(checkpoints, str) and checkpoints.strip().isdecimal()
    )
    if not alone:
        return None
    if int(str(checkpoints)) < 1:
        raise CntbenchError(f"checkpoints = {checkpoints} is not allowed", hint="At least 1.")
    return int(str(checkpoints))


def write_comparison(dataset: xr.Dataset, path: Path, *, force: bool = False) -> None:
    """Write a comparison as netCDF, complete or not at all.

    An earlier comparison at the path is replaced, a file of another kind only with ``force``.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    check_output(path, COMPARISON, force=force)
    write_netcdf({"/": dataset}, path)


def open_comparison(path: Path) -> xr.Dataset:
    """Read a comparison into memory.

    Raises
    ------
    StorageError
        If the file is missing, damaged, or not a comparison.
    """
    where = str(path)
    if is_folder(path) or file_status(path) is None:
        raise StorageError("no such file", where=where, hint=_MAKE)
    dataset = read_netcdf(path, hint=_MAKE)[0]["/"]
    if dataset.attrs.get("title") != TITLE or "ablation" not in dataset.coords:
        raise StorageError("is not a comparison of ablation methods", where=where, hint=_MAKE)
    validate_contents(GROUPS["comparison"], dataset, where=where)
    return dataset
