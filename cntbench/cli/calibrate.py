"""The command that tests claims on films whose truth is known: ``calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cntbench.cli.options import Force, Jobs, Specs, begin_workers, err, out
from cntbench.errors import CntbenchError, unknown
from cntbench.runs.resources import cores


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
    from cntbench.reporting.terminal import progress_bar
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
