"""The command line: ``cntbench run``, ``plan``, ``show``, ``claims``, ``audit``, ``compare`` …

Exit codes: 0 done; 2 a mistake of the user's, said without a traceback, nothing written or lost;
3 some checkpoints could not be measured, the others are kept; 130 interrupted, whole checkpoints
are kept.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from cntbench import __version__
from cntbench.errors import (
    EXIT_CHECKPOINTS_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    CntbenchError,
)
from cntbench.options import (
    Ablations,
    Jobs,
    Keep,
    Memory,
    PromptCount,
    RunFolderPath,
    Seed,
    Specs,
    Study,
    Tasks,
    TrajectoryName,
)

app = typer.Typer(
    name="cntbench",
    help="Transformers as evolving causal graphs: influence between components over training.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


class Kind(StrEnum):
    """What can be listed."""

    TASKS = "tasks"
    ABLATIONS = "ablations"
    STUDIES = "studies"
    PLANTED = "planted"
    BACKBONES = "backbones"
    GENERATORS = "generators"
    REPLACEMENTS = "replacements"
    MEASURES = "measures"
    METRICS = "metrics"
    NULLS = "nulls"
    CLAIMS = "claims"
    STATISTICS = "statistics"
    SOURCES = "sources"


#: Kinds that are Python files, by what `cntbench.plugins` calls them.
PLUGINS = {
    Kind.GENERATORS: "generator",
    Kind.REPLACEMENTS: "replacement",
    Kind.MEASURES: "measure",
    Kind.METRICS: "metric",
    Kind.NULLS: "null model",
    Kind.STATISTICS: "statistic",
    Kind.SOURCES: "trajectory source",
}


def _version(asked: bool) -> None:
    if asked:
        out.print(f"cntbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    study: Study = "nano",
    trajectory: TrajectoryName = None,
    tasks: Tasks = None,
    ablations: Ablations = None,
    prompts: PromptCount = None,
    seed: Seed = None,
    output: RunFolderPath = None,
    jobs: Jobs = None,
    memory: Memory = 1.0,
    keep: Keep = 2,
    specs: Specs = None,
) -> None:
    """Measure a study at every checkpoint, or go on with one that was interrupted."""
    from cntbench.catalogue import load_catalogue
    from cntbench.plan import make_plan
    from cntbench.progress import progress_bar
    from cntbench.report.claims import claims_of
    from cntbench.report.failures import failures
    from cntbench.report.summary import summary
    from cntbench.run_folder import RunFolder
    from cntbench.runner import Interrupted
    from cntbench.runner import run as run_plan

    catalogue = load_catalogue(specs or ())
    entry = catalogue.amend(
        catalogue.study(study), _asked(trajectory, tasks, ablations, prompts, seed)
    )
    folder = output or Path("runs") / study
    try:
        with progress_bar(err) as progress:
            plan = make_plan(catalogue, entry, progress)
            RunFolder(folder).check(plan)
            outcome = run_plan(
                plan,
                folder,
                jobs=jobs or _cores(),
                progress=progress,
                memory_budget=int(memory * 2**30),
                keep=keep,
            )
    except Interrupted as interrupted:
        err.print(f"Interrupted: {interrupted}. The same command goes on from there.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    out.print(summary(outcome.tree))
    out.print(claims_of(outcome.tree))
    out.print(
        f"Measured {outcome.measured} checkpoints, found {outcome.reused} measured before.\n"
        f"The result is in {escape(str(outcome.path))}. To look at it:\n\n"
        f"    cntbench show {escape(str(outcome.path))}\n"
        f"    python -c \"import xarray as xr; print(xr.open_dataset('{outcome.path}'))\"\n",
        highlight=False,
    )
    if outcome.failed:
        err.print(failures(outcome.failed), markup=False, highlight=False)
        raise typer.Exit(EXIT_CHECKPOINTS_FAILED)


@app.command()
def plan(
    study: Study = "nano",
    trajectory: TrajectoryName = None,
    tasks: Tasks = None,
    ablations: Ablations = None,
    prompts: PromptCount = None,
    seed: Seed = None,
    output: RunFolderPath = None,
    jobs: Jobs = None,
    memory: Memory = 1.0,
    specs: Specs = None,
) -> None:
    """Say what a run would do and how long it may take, without running it."""
    from cntbench.catalogue import load_catalogue
    from cntbench.estimate import estimate
    from cntbench.plan import make_plan
    from cntbench.progress import progress_bar
    from cntbench.report.estimate import estimate_table
    from cntbench.run_folder import RunFolder

    catalogue = load_catalogue(specs or ())
    entry = catalogue.amend(
        catalogue.study(study), _asked(trajectory, tasks, ablations, prompts, seed)
    )
    with progress_bar(err) as progress:
        resolved = make_plan(catalogue, entry, progress)
        found = estimate(
            resolved,
            RunFolder(output or Path("runs") / study),
            jobs=jobs or _cores(),
            memory_budget=int(memory * 2**30),
        )
    out.print(estimate_table(found))


@app.command()
def show(
    results: Annotated[Path, typer.Argument(help="A results.nc file.", metavar="RESULTS")],
) -> None:
    """Print what a result says: readouts, strongest components, heads and what they attend to."""
    from cntbench.report.claims import claims_of
    from cntbench.report.summary import summary
    from cntbench.storage import open_results

    tree = open_results(results)
    out.print(summary(tree))
    out.print(claims_of(tree))


@app.command()
def claims(
    results: Annotated[list[Path], typer.Argument(help="results.nc files.", metavar="RESULTS...")],
    names: Annotated[
        str | None,
        typer.Option("--claims", help="Claims, separated by commas [all].", metavar="NAMES"),
    ] = None,
    draws: Annotated[int, typer.Option(min=19, help="Number of draws from each null model.")] = 200,
    jobs: Jobs = None,
    specs: Specs = None,
) -> None:
    """Test claims on results, keep the verdicts in their files, and pool them over the files."""
    from cntbench.catalogue import load_catalogue
    from cntbench.progress import progress_bar
    from cntbench.report.claims import claims_report
    from cntbench.verdicts import add_verdicts, distinct_files

    chosen = load_catalogue(specs or ()).some_claims(_names(names))
    trees = {}
    with progress_bar(err) as progress:
        for path in distinct_files(results):
            trees[str(path)] = add_verdicts(
                path, chosen, draws=draws, jobs=jobs or _cores(), progress=progress
            )
    out.print(claims_report(trees, chosen))


@app.command()
def audit(
    what: Annotated[
        str,
        typer.Argument(
            help="A results.nc file or the folder of a run; or a trajectory, all of whose "
            "checkpoints are then read and hashed.",
            metavar="RESULTS_OR_TRAJECTORY",
        ),
    ],
    keep: Keep = 2,
) -> None:
    """List checkpoints with what is wrong: missing, failed, or the weights of another."""
    from cntbench.audit import audit_results, audit_trajectory
    from cntbench.models.trajectory import open_trajectory
    from cntbench.progress import progress_bar
    from cntbench.report.audit import audit_table
    from cntbench.run_folder import MANIFEST, RunFolder
    from cntbench.storage import open_results

    path = Path(what)
    if (path / MANIFEST).is_file():
        path = RunFolder(path).results
    if path.is_file() or path.suffix == ".nc":
        rows = audit_results(open_results(path).to_dataset(inherit=False))
    else:
        with progress_bar(err) as progress:
            rows = audit_trajectory(open_trajectory(what, progress), progress, keep=keep)
    out.print(audit_table(rows))
    if any(row.lost for row in rows):
        raise typer.Exit(EXIT_CHECKPOINTS_FAILED)


@app.command()
def compare(
    results: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Compare result files instead: the ablations of one, or several with the first.",
        ),
    ] = None,
    trajectory: Annotated[
        str | None, typer.Option(help="Another trajectory [nano].", metavar="SOURCE")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks, separated by commas [induction].", metavar="NAMES")
    ] = None,
    ablations: Annotated[
        str | None, typer.Option(help="Ablations, separated by commas.", metavar="NAMES")
    ] = None,
    prompts: Annotated[int | None, typer.Option(help="Number of prompts of each task.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of prompts and random draws.")] = None,
    circuits: Annotated[
        str | None,
        typer.Option(
            help="Planted circuits, separated by commas; '' for none [all without dynamics].",
            metavar="NAMES",
        ),
    ] = None,
    checkpoints: Annotated[
        int, typer.Option(min=1, help="Number of checkpoints, spread over the trajectory.")
    ] = 8,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Processes, one thread each [number of cores]."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the dataset, as netCDF."),
    ] = None,
    specs: Specs = None,
) -> None:
    """Compare ablation methods: on planted circuits, and on a trained trajectory."""
    from cntbench.catalogue import load_catalogue
    from cntbench.compare.command import compare_ablations, write_comparison
    from cntbench.compare.files import compare_files, refuse_beside_results
    from cntbench.progress import progress_bar
    from cntbench.report.comparison import comparison_tables

    asked = _asked(trajectory, tasks, ablations, prompts, seed)
    if results:
        refuse_beside_results(asked if circuits is None else asked | {"circuits": circuits})
        found = compare_files(results)
    else:
        with progress_bar(err) as progress:
            found = compare_ablations(
                load_catalogue(specs or ()),
                asked,
                circuits=_names(circuits),
                checkpoints=checkpoints,
                progress=progress,
                jobs=jobs or _cores(),
            )
    out.print(comparison_tables(found))
    if output:
        write_comparison(found, output)
        out.print(f"The dataset is in {escape(str(output))}.", highlight=False)


@app.command(name="list")
def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    specs: Specs = None,
) -> None:
    """List what there is: names, versions, summaries, and where each file lies."""
    from cntbench.catalogue import load_catalogue
    from cntbench.plugins import room

    rows: list[tuple[str, str, str, Path]]
    if kind is Kind.ABLATIONS:
        rows = [
            (e.name, f" v{e.spec.version}", f"({e.spec.effect}) {e.spec.summary}", e.path)
            for e in load_catalogue(specs or ()).ablations.values()
        ]
    elif kind in (Kind.TASKS, Kind.STUDIES, Kind.PLANTED, Kind.BACKBONES, Kind.CLAIMS):
        entries = getattr(load_catalogue(specs or ()), kind)
        rows = [(e.name, f" v{e.spec.version}", e.spec.summary, e.path) for e in entries.values()]
    else:
        rows = [(p.name, "", p.summary, p.path) for p in room(PLUGINS[kind]).values()]
    for name, version, summary_line, path in rows:
        line = f"[bold]{escape(name)}[/]{version}  {escape(summary_line)}"
        out.print(f"{line}\n    [dim]{escape(str(path))}[/]", highlight=False)


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2."""
    try:
        app()
    except CntbenchError as error:
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        err.print("Interrupted.")
        sys.exit(EXIT_INTERRUPTED)


def _asked(
    trajectory: str | None,
    tasks: str | None,
    ablations: str | None,
    prompts: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """Return the keys of a study that the command line changes."""
    changes = {
        "trajectory": trajectory,
        "tasks": _names(tasks),
        "ablations": _names(ablations),
        "prompts": prompts,
        "seed": seed,
    }
    return {key: value for key, value in changes.items() if value is not None}


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
