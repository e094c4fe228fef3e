"""The command that completes a file that xarray has written: ``seal``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cntbench.cli.options import Jobs, Specs, err, out
from cntbench.errors import in_file
from cntbench.runs.resources import cores


def seal(
    results: Annotated[
        Path, typer.Argument(help="A netCDF file that xarray has written.", metavar="FILE")
    ],
    draws: Annotated[int, typer.Option(min=0, help="Number of draws from each null model.")] = 200,
    jobs: Jobs = None,
    specs: Specs = None,
) -> None:
    """Give a film or a selection that xarray has written its checksum and its derived groups."""
    from cntbench.analysis.sealing import seal as seal_file
    from cntbench.reporting.terminal import progress_bar

    with progress_bar(err) as progress, in_file(results):
        seal_file(results, draws=draws, jobs=jobs or cores(), progress=progress)
    out.print(
        f"{results} has its checksum and its derived groups. To test claims on it:\n\n"
        f"    cntbench claims {results}\n",
        markup=False,
    )
