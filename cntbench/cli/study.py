"""Commands that make results: ``cntbench run``, ``merge`` and ``plan``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cntbench.cli.options import (
    MEASURING,
    DeviceName,
    Devices,
    ExecutorName,
    Jobs,
    KeepDownloads,
    Memory,
    RunFolderPath,
    Scheduler,
    Shard,
    Specs,
    Study,
    begin_workers,
    err,
    out,
    takes_study_options,
)
from cntbench.errors import EXIT_CHECKPOINTS_FAILED, EXIT_INTERRUPTED, CntbenchError
from cntbench.runs.executors import Executor, select_executor
from cntbench.runs.resources import (
    DeviceChoice,
    Resources,
    chosen_gpus,
    cores,
    processes_for,
    resolve_device,
)

if TYPE_CHECKING:
    from cntbench.results.failure import Failure
    from cntbench.runs.catalogue import Catalogue
    from cntbench.runs.run import Measured, Outcome
    from cntbench.runs.seeds import SeedRun


#: Remedy for failures of a run.
_AGAIN = "the same command tries them again"


@takes_study_options
def run(
    changes: Mapping[str, Any],
    study: Study = "nano",
    device: DeviceName = DeviceChoice.CPU,
    devices: Devices = None,
    output: RunFolderPath = None,
    jobs: Jobs = None,
    memory: Memory = None,
    keep_downloads: KeepDownloads = 2,
    shard: Shard = None,
    executor: ExecutorName = None,
    scheduler: Scheduler = None,
    specs: Specs = None,
) -> None:
    """Measure a study at every checkpoint, or resume an interrupted run."""
    local = executor in (None, Executor.PROCESSES) and scheduler is None
    if local and device is DeviceChoice.CPU and devices is None:
        begin_workers(jobs, *MEASURING)
    from cntbench.estimate.utilisation import utilisation
    from cntbench.models.device import check_precision
    from cntbench.reporting.estimate import utilisation_line
    from cntbench.reporting.progress import progress_bar
    from cntbench.runs.catalogue import load_catalogue
    from cntbench.runs.folder import RunFolder
    from cntbench.runs.plan import make_plan
    from cntbench.runs.run import run as run_plan
    from cntbench.runs.run import run_shard
    from cntbench.runs.seeds import run_path, seed_runs, seeds_folder
    from cntbench.runs.shard import parse_shard

    part = parse_shard(shard) if shard is not None else None
    gpus = chosen_gpus(devices, jobs, scheduler)
    resolved_device = "cuda" if gpus else resolve_device(device, scheduler)
    processes = len(gpus) or jobs or processes_for(resolved_device)
    execute, workers = select_executor(executor, scheduler, processes, where="--scheduler")
    options: dict[str, Any] = {
        "jobs": workers,
        "execute": execute,
        "resources": Resources(int((memory or 0) * 2**30), keep_downloads, resolved_device),
    }
    catalogue = load_catalogue(specs or ())
    folder = output or seeds_folder(study)
    runs = seed_runs(catalogue, study, changes, folder, where="command line")
    if runs:
        if part is not None:
            raise CntbenchError(
                "a study of several seeds has no shards",
                where="command line: shard",
                hint="Measure some of the seeds on each machine with --seeds, then put the folders "
                "together.",
            )
        _run_seeds(catalogue, runs, folder, options)
        return
    with _interruptible(), progress_bar(err) as progress:
        early, folder = part is None and workers > 1, output or run_path(study)
        entry = catalogue.changed_study(study, changes, where="command line")
        check_precision(resolved_device, entry.spec.dtype)
        plan = make_plan(catalogue, entry, progress, early=early)
        if part is None:
            outcome = run_plan(plan, folder, progress=progress, **options)
        else:
            measured = run_shard(plan, RunFolder(folder, part), progress=progress, **options)
    if part is None:
        used = utilisation(plan, outcome, workers, resolved_device)
        _print_outcome(outcome, _AGAIN, f"{utilisation_line(used)}\n" if used else "")
        return
    out.print(
        f"{_progress(measured, f' of shard {part}')}.\nWhen all shards are measured:\n\n"
        f"    cntbench merge FOLDER... -o FOLDER\n",
        markup=False,
    )
    _print_failures(measured.failed, _AGAIN)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Report which results of an interrupted run are kept, and exit."""
    from cntbench.runs.run import Interrupted

    try:
        yield
    except Interrupted as interrupted:
        err.print(f"Interrupted: {interrupted}. The same command resumes from there.")
        sys.exit(EXIT_INTERRUPTED)


def _run_seeds(
    catalogue: Catalogue, runs: Sequence[SeedRun], folder: Path, options: Mapping[str, Any]
) -> None:
    """Measure the runs of several seeds, then print and write the pooled verdicts."""
    from cntbench.comparison.claims import POOLED, pooled_claims
    from cntbench.reporting.claims import claims_report
    from cntbench.reporting.page.write import write_films_page
    from cntbench.reporting.progress import progress_bar
    from cntbench.results.storage import write_dataset
    from cntbench.runs.seeds import run_seeds

    outcomes = {}
    with _interruptible(), progress_bar(err) as progress:
        for seed_run, outcome in run_seeds(catalogue, runs, progress=progress, **options):
            outcomes[seed_run.name] = outcome
            _report(outcome)
    trees = {str(outcome.path): outcome.tree for outcome in outcomes.values()}
    claims = catalogue.some_claims()
    pooled = pooled_claims({name: outcome.tree for name, outcome in outcomes.items()}, claims)
    lines = [f"{name}: {_progress(outcome)}; {outcome.path}" for name, outcome in outcomes.items()]
    if pooled is not None:
        out.print(claims_report(trees, claims))
        path = folder / "claims.nc"
        write_dataset(pooled, path, POOLED)
        page = folder / "claims.html"
        _write(page, lambda: write_films_page(trees, page))
        lines.append(f"The pooled verdicts are in {path}. To pool other claims, or more results:")
        lines.append(f"\n    cntbench claims {folder}/*/results.nc\n")
    out.print("\n".join(lines), markup=False)
    failed = {
        f"{name}, {label}": failure
        for name, outcome in outcomes.items()
        for label, failure in outcome.failed.items()
    }
    _print_failures(failed, _AGAIN)


def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of shards of one run.", metavar="FOLDER...")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Folder of the merged run: one of them, or new.",
        ),
    ],
    jobs: Jobs = None,
    specs: Specs = None,
) -> None:
    """Combine the shards of a run, as measured by run --shard."""
    begin_workers(jobs, "cntbench.runs.merge")
    from cntbench.reporting.progress import progress_bar
    from cntbench.runs.catalogue import load_catalogue
    from cntbench.runs.merge import merge as merge_folders

    with progress_bar(err) as progress:
        outcome = merge_folders(
            load_catalogue(specs or ()), folders, output, jobs=jobs or cores(), progress=progress
        )
    _print_outcome(
        outcome, "measure their shards again, or all of them in this folder with cntbench run -o"
    )


def _progress(run: Measured, shard: str = "") -> str:
    """Return how many checkpoints were measured now and before."""
    from cntbench.reporting.wording import counted

    measured = f"Measured {counted(run.measured, 'checkpoint')}{shard}"
    return f"{measured}, found {run.reused} measured before"


def _print_outcome(outcome: Outcome, remedy: str, used: str = "") -> None:
    """Print the results of a run, their file, and what could not be measured."""
    from cntbench.reporting.claims import claims_of
    from cntbench.reporting.summary import summary

    out.print(summary(outcome.tree))
    out.print(claims_of(outcome.tree))
    out.print(
        f"{_progress(outcome)}.\n{used}"
        f"The result is in {outcome.path}. To look at it:\n\n"
        f"    cntbench show {outcome.path}\n"
        f"    python -c \"import xarray as xr; print(xr.open_dataset('{outcome.path}'))\"\n",
        markup=False,
    )
    _report(outcome)
    _print_failures(outcome.failed, remedy)


def _report(outcome: Outcome) -> None:
    """Write the report of a result beside it; a failure to write it is only a message."""
    from cntbench.reporting.page.write import write_page

    page = outcome.path.with_name("report.html")
    _write(page, lambda: write_page(outcome.tree, page, name=str(outcome.path)))


def _write(page: Path, write: Callable[[], None]) -> None:
    """Write a page, and tell where it is or why it was not written."""
    try:
        write()
    except CntbenchError as error:
        err.print(f"The report was not written: {error}", markup=False)
    else:
        out.print(f"The report is in {page}. Open it in a browser.", markup=False)


def _print_failures(failed: Mapping[str, Failure], remedy: str) -> None:
    from cntbench.reporting.audit import failures

    if failed:
        err.print(failures(failed, remedy), markup=False)
        raise typer.Exit(EXIT_CHECKPOINTS_FAILED)


@takes_study_options
def plan(
    changes: Mapping[str, Any],
    study: Study = "nano",
    device: DeviceName = DeviceChoice.CPU,
    output: RunFolderPath = None,
    jobs: Jobs = None,
    memory: Memory = None,
    keep_downloads: KeepDownloads = 2,
    specs: Specs = None,
) -> None:
    """Estimate what a run would measure and how long it may take, without running it."""
    from cntbench.estimate.estimate import estimate
    from cntbench.reporting.estimate import estimate_table, seeds_line, steps_line
    from cntbench.reporting.progress import progress_bar
    from cntbench.runs.catalogue import load_catalogue
    from cntbench.runs.folder import RunFolder
    from cntbench.runs.plan import make_plan
    from cntbench.runs.seeds import run_path, seed_runs, seeds_folder

    resolved_device = resolve_device(device, None)
    catalogue = load_catalogue(specs or ())
    runs = seed_runs(catalogue, study, changes, output or seeds_folder(study), where="command line")
    with progress_bar(err) as progress:
        folder = runs[0].folder.path if runs else output or run_path(study)
        entry = (
            runs[0].study if runs else catalogue.changed_study(study, changes, where="command line")
        )
        chosen = make_plan(catalogue, entry, progress, outline=True)
        begun = RunFolder(folder)
        run_folder = begun if output is not None or begun.fits(chosen) else None
        cost = estimate(
            chosen,
            run_folder,
            jobs=jobs or processes_for(resolved_device),
            resources=Resources(int((memory or 1) * 2**30), keep_downloads, resolved_device),
        )
    out.print(estimate_table(cost))
    out.print(steps_line(chosen.trajectory.checkpoints))
    if runs:
        untrained = len(chosen.untrained)
        out.print(seeds_line(cost, [(run.name, *run.measured) for run in runs], untrained))
    if run_folder is None:
        out.print(f"{folder} holds another run: choose another folder with -o.", markup=False)
