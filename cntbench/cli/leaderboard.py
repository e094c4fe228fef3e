"""The command that ranks the methods of several comparisons: ``leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from cntbench.cli.options import Force, out


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
    from cntbench.reporting.leaderboard import check_leaderboard, write_leaderboard
    from cntbench.reporting.verdict import verdict_tables

    for path in output or ():
        check_leaderboard(path, inputs=files, force=force)
    dataset = rank(files)
    out.print(Group(*verdict_tables(dataset)))
    for path in output or ():
        write_leaderboard(dataset, path)
        out.print(f"The leaderboard is in {path}.", markup=False)
