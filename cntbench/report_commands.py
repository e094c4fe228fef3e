"""The command that makes a page of a result: ``cntbench report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cntbench.options import out


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
            metavar="FILE", help="What cntbench compare -o wrote, to say which method to trust."
        ),
    ] = None,
) -> None:
    """Write a result as one HTML page that opens without network: the film, figures, verdicts."""
    from cntbench.comparison.command import open_comparison
    from cntbench.report.page.write import write_page
    from cntbench.storage import open_results

    tree = open_results(results)
    compared = open_comparison(comparison) if comparison else None
    path = output or results.with_name("report.html")
    write_page(tree, path, name=str(results), comparison=compared)
    out.print(f"The report is in {escape(str(path))}.", highlight=False)
