"""``cntbench figures``: the pictures of a result as files for publications."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cntbench.errors import CntbenchError, unknown
from cntbench.options import names_in, out

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def figures(
    results: Annotated[Path, typer.Argument(help="A results.nc file.", metavar="RESULTS")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the pictures."),
    ],
    formats: Annotated[
        str, typer.Option("--format", metavar="NAMES", help="Of svg, pdf and png, some.")
    ] = "svg,pdf,png",
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="NAMES", help="Pictures, separated by commas [all]."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="Task of pictures of one [induction, or the first].", metavar="NAME"),
    ] = None,
    ablation: Annotated[
        str | None, typer.Option(help="Ablation of pictures of one [the first].", metavar="NAME")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint of the heatmap [the last].", metavar="NAME"),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="Checkpoints of the film, separated by commas [eight, over its way].",
            metavar="NAMES",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics to draw, separated by commas [six].", metavar="NAMES"),
    ] = None,
    comparison: Annotated[
        Path | None,
        typer.Option(help="What cntbench compare -o has written, for its picture.", metavar="FILE"),
    ] = None,
) -> None:
    """Draw a result: film, heatmap, readouts, metrics, recurrence, roles, claims, methods."""
    from cntbench.figures import save
    from cntbench.figures._results import MissingGroupError
    from cntbench.figures._style import FORMATS
    from cntbench.storage import open_results, readable_folder

    kinds = _chosen("format", formats, FORMATS)
    drawings = _drawings(task, ablation, checkpoint, names_in(checkpoints), names_in(metrics))
    tree = open_results(results)
    beside = None if comparison is None else _opened(comparison)
    made, left_out = [], []
    for name in _chosen("picture", only, tuple(drawings)):
        subject = beside if name == "comparison" and beside is not None else tree
        try:
            figure = drawings[name](subject)
        except MissingGroupError as missing:
            left_out.append(f"{name} is left out. {missing}".replace("RESULTS", str(results)))
            continue
        output.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            save(figure, output / f"{name}.{kind}")
        made.append(name)
    out.print(
        f"Drawn into {escape(str(output))}: {', '.join(made) or 'nothing'} ({', '.join(kinds)}).",
        highlight=False,
    )
    for line in left_out:
        out.print(escape(line), highlight=False)
