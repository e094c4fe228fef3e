"""The commands ``golden freeze`` and ``golden check``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from cntbench.cli.options import MEASURING, Jobs, ResultsPath, Specs, begin_workers, err, out
from cntbench.cli.usage import App
from cntbench.errors import EXIT_INTERRUPTED, EXIT_MOVED, in_file, listed
from cntbench.runs.resources import cores

golden = App(
    name="golden",
    help="Freeze results, and check that their numbers have not moved.",
    no_args_is_help=True,
)


@golden.command()
def freeze(
    results: ResultsPath,
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="The golden folder, new or replaced.")
    ],
) -> None:
    """Freeze a result's numbers, with the study that measures them again."""
    from cntbench.reporting.wording import counted
    from cntbench.runs.golden import freeze as freeze_result
    from cntbench.runs.golden import has_study

    files = freeze_result(results, to)
    against = "" if has_study(to) else " --results FILE"
    size = decimal(sum(path.stat().st_size for path in files))
    out.print(
        f"Froze {counted(len(files), 'file')} of task × ablation, {size}: {to}. "
        f"To check them:\n\n    cntbench golden check {to}{against}\n",
        markup=False,
    )


@golden.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A golden folder.", metavar="FOLDER")],
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check this result, instead of running the frozen study again."
        ),
    ] = None,
    jobs: Jobs = None,
    specs: Specs = None,
) -> None:
    """Measure a frozen study again and compare; exit code 1 if a number has moved."""
    if results is None:
        begin_workers(jobs, *MEASURING)
    from cntbench.reporting.audit import failures
    from cntbench.reporting.progress import progress_bar
    from cntbench.results.difference import report
    from cntbench.results.storage import open_results
    from cntbench.runs.catalogue import load_catalogue
    from cntbench.runs.golden import load_golden, measure_again
    from cntbench.runs.run import Interrupted

    frozen = load_golden(folder)
    if results is not None:
        measured = open_results(results).to_dataset(inherit=False)
    else:
        catalogue = load_catalogue(specs or ())
        try:
            with progress_bar(err) as progress:
                measured, failed = measure_again(
                    frozen, catalogue, jobs=jobs or cores(), progress=progress
                )
        except Interrupted:
            err.print("Interrupted; nothing was saved.")
            sys.exit(EXIT_INTERRUPTED)
        if failed:
            err.print(failures(failed, "the values frozen there count as moved"), markup=False)
    with in_file(folder if results is None else results):
        moved = frozen.moves(measured)
        others = frozen.other_weights(measured)
    if others:
        err.print(f"Weights differ from the frozen ones: {listed(others, 5)}", markup=False)
    if moved:
        out.print(report(moved), markup=False)
        raise typer.Exit(EXIT_MOVED)
    out.print(f"Nothing has moved: {frozen.values} values of {len(frozen.films)} task × ablation.")
