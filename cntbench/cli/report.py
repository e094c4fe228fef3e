"""The command that writes a result as a page: ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cntbench.cli.options import Force, out
from cntbench.errors import in_file


def report(
    results: Annotated[Path, typer.Argument(help="A results.nc file.", metavar="RESULTS")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The page (default: report.html beside RESULTS)."
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
    from cntbench.comparison.command import open_comparison
    from cntbench.output import check_output
    from cntbench.reporting.page.write import PAGE, write_page
    from cntbench.results.storage import open_results

    path = results.with_name("report.html") if output is None else output
    inputs = [results] if comparison is None else [results, comparison]
    check_output(path, PAGE, inputs=inputs, force=force)
    tree = open_results(results)
    compared = None if comparison is None else open_comparison(comparison)
    with in_file(results):
        write_page(tree, path, name=str(results), comparison=compared, force=force)
    out.print(f"The report is in {escape(str(path))}.", highlight=False)
