"""The commands that show and judge results: ``show``, ``report``, ``claims`` and others."""

from __future__ import annotations

from os.path import commonpath
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from cntbench.cli.options import Force, Jobs, ResultsPath, Specs, begin_workers, err, names_in, out
from cntbench.errors import CntbenchError, in_file, unknown
from cntbench.runs.resources import cores


def show(
    results: ResultsPath,
    task: Annotated[
        str | None,
        typer.Option(
            help="Task of the components and verdicts (default: induction, or the first).",
            metavar="NAME",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            "--step",
            help="Checkpoint of the components, by its name or step: 1200, step1200 (default: the "
            "last that counts).",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Print a summary of a result: readouts, strongest components, what heads do, verdicts."""
    from cntbench.reporting.claims import claims_of
    from cntbench.reporting.summary import summary
    from cntbench.results.storage import open_results

    tree = open_results(results)
    with in_file(results):
        out.print(summary(tree, task, checkpoint))
        out.print(claims_of(tree, task))


def report(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="A results.nc; of several, such as seeds, the page holds the pooled verdicts.",
            metavar="RESULTS...",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The page (default: report.html beside RESULTS; of several, claims.html in the "
            "folder that holds them all).",
        ),
    ] = None,
    comparison: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Output of cntbench compare -o, to say which method to trust."
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Write a result as one HTML page that works offline: the film, figures, verdicts."""
    from cntbench.comparison.files import open_comparison
    from cntbench.files.output import check_output
    from cntbench.reporting.page.write import PAGE, write_films_page, write_page
    from cntbench.results.storage import distinct_files, open_results

    several = len(distinct_files(results)) > 1
    if several and comparison is not None:
        raise CntbenchError(
            "is shown beside one result, not several",
            where="--comparison",
            hint="Write the page of one RESULTS, or leave --comparison out.",
        )
    shared = commonpath([path.absolute().parent for path in results])
    default = Path(shared, "claims.html") if several else results[0].with_name("report.html")
    page = output or default
    trees = {str(result): open_results(result) for result in results}
    inputs = results if comparison is None else [*results, comparison]
    check_output(page, PAGE, inputs=inputs, force=force)
    if several:
        write_films_page(trees, page, force=force)
    else:
        compared = None if comparison is None else open_comparison(comparison)
        for name, tree in trees.items():
            with in_file(name):
                write_page(tree, page, name=name, comparison=compared, force=force)
    out.print(f"The report is in {page}.", markup=False)


def claims(
    results: Annotated[list[Path], typer.Argument(help="results.nc files.", metavar="RESULTS...")],
    names: Annotated[
        str | None,
        typer.Option(
            "--claims", help="Claims, separated by commas (default: all).", metavar="NAMES"
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=19, help="Number of draws from each null model.")] = 200,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Of one file, write the result with its verdicts here; RESULTS stays as it is. Of "
            "several, write the pooled verdicts here.",
            metavar="FILE",
        ),
    ] = None,
    force: Force = False,
    jobs: Jobs = None,
    specs: Specs = None,
) -> None:
    """Test claims on results, keep the verdicts in their files, and pool them over the files."""
    begin_workers(jobs, "cntbench.analysis.verdicts")
    from cntbench.analysis.verdicts import add_verdicts
    from cntbench.comparison.claims import POOLED, pooled_claims
    from cntbench.files.output import check_output
    from cntbench.reporting.claims import claims_report
    from cntbench.reporting.progress import progress_bar
    from cntbench.results.storage import RESULT, distinct_files, write_dataset
    from cntbench.runs.catalogue import load_catalogue

    chosen = load_catalogue(specs or ()).some_claims(names_in(names))
    paths = distinct_files(results)
    pools = len(paths) > 1
    if output is not None:
        check_output(output, POOLED if pools else RESULT, inputs=paths, force=force)
    judged = None if pools else output
    trees = {}
    with progress_bar(err) as progress:
        for path in paths:
            with in_file(path):
                trees[str(path)] = add_verdicts(
                    path, chosen, draws=draws, jobs=jobs or cores(), progress=progress, to=judged
                )
    out.print(claims_report(trees, chosen))
    if pools and output is not None:
        pooled = pooled_claims(trees, chosen)
        assert pooled is not None, "all results were tested for the same claims"
        write_dataset(pooled, output, POOLED, force=force)


def calibrate(
    claims: Annotated[
        list[str] | None,
        typer.Argument(help="Claims (default: all), also your own.", metavar="CLAIM..."),
    ] = None,
    films: Annotated[int, typer.Option(min=1, help="Simulated films of each setting.")] = 20,
    draws: Annotated[int, typer.Option(min=19, help="Number of draws from each null model.")] = 99,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Keep the rates as netCDF."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the power as .svg, .pdf or .png.")
    ] = None,
    force: Force = False,
    jobs: Jobs = None,
    specs: Specs = None,
) -> None:
    """Test claims on simulated films: false positives, and power over effects, lengths, edges."""
    begin_workers(jobs, "cntbench.analysis.calibration.rates")
    from cntbench.analysis.calibration.kinds import KNOWN
    from cntbench.analysis.calibration.rates import CALIBRATION, settings
    from cntbench.analysis.calibration.rates import calibrate as calibrated
    from cntbench.figures import save
    from cntbench.figures._calibration import power_curves
    from cntbench.figures._style import KINDS
    from cntbench.files.output import check_output, check_regular
    from cntbench.reporting.calibration import calibration_tables
    from cntbench.reporting.progress import progress_bar
    from cntbench.results.storage import write_dataset
    from cntbench.runs.catalogue import load_catalogue

    chosen = load_catalogue(specs or ()).some_claims(tuple(claims) if claims else None)
    if output is not None:
        check_output(output, CALIBRATION, force=force)
    if figure is not None:
        check_regular(figure)
        ending = figure.suffix.removeprefix(".")
        if ending not in KINDS:
            raise unknown("format", ending, KINDS, where=str(figure))
        check_output(figure, KINDS[ending], force=force)
        if not any(claim.name in KNOWN for claim in chosen):
            raise CntbenchError(
                "there is no power to draw: no simulated films are known to satisfy these claims",
                where="--figure",
                hint="cntbench/analysis/calibration/kinds.py lists films for the shipped claims.",
            )
    with progress_bar(err) as progress:
        rates = calibrated(
            settings(chosen), films=films, draws=draws, jobs=jobs or cores(), progress=progress
        )
    out.print(calibration_tables(rates))
    if output is not None:
        write_dataset(rates, output, CALIBRATION, force=force)
        out.print(f"The rates are in {output}.", markup=False)
    if figure is not None:
        save(power_curves(rates), figure, force=force)
        out.print(f"The power is drawn in {figure}.", markup=False)


def leaderboard(
    files: Annotated[
        list[Path], typer.Argument(help="What cntbench compare -o has written.", metavar="FILE...")
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write a page (.html) or a Markdown table (.md); may be given twice.",
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Rank the methods of several comparisons, of one author or of many, for each purpose."""
    from cntbench.comparison.leaderboard import leaderboard as rank
    from cntbench.reporting.comparison import verdict_tables
    from cntbench.reporting.leaderboard import check_leaderboard, write_leaderboard

    for path in output or ():
        check_leaderboard(path, inputs=files, force=force)
    dataset = rank(files)
    out.print(Group(*verdict_tables(dataset)))
    for path in output or ():
        write_leaderboard(dataset, path)
        out.print(f"The leaderboard is in {path}.", markup=False)
