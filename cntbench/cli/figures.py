"""``cntbench figures``: the pictures of a result as files for publications."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from cntbench.cli.options import Force, ResultsPath, Specs, names_in, out
from cntbench.errors import CntbenchError, distinct, in_file, unknown


def figures(
    results: ResultsPath,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the pictures.")
    ],
    formats: Annotated[
        str,
        typer.Option(
            "--format", metavar="NAMES", help="Formats: svg, pdf, png, separated by commas."
        ),
    ] = "svg,pdf,png",
    only: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="NAMES", help="Pictures, separated by commas (default: all)."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Task of pictures that show one (default: induction, or the first).",
            metavar="NAME",
        ),
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option(
            help="Ablation of pictures that show one (default: the first).", metavar="NAME"
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint of the heatmap (default: the last).", metavar="NAME"),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="Checkpoints of the film: 1200, step1200, 1000:5000, count=4, separated by commas "
            "(default: eight, evenly spaced in cumulative change).",
            metavar="CHOICE",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics to draw, separated by commas (default: six).", metavar="NAMES"),
    ] = None,
    comparison: Annotated[
        Path | None,
        typer.Option(help="The output of cntbench compare -o, for its picture.", metavar="FILE"),
    ] = None,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Draw a result: film, heatmap, readouts, metrics, recurrence, roles, claims, methods."""
    from cntbench.comparison.files import open_comparison
    from cntbench.figures import save
    from cntbench.figures._results import Chosen, MissingGroupError
    from cntbench.figures._style import FORMATS, KINDS
    from cntbench.files.output import check_files, check_folder
    from cntbench.plugins import room, usable
    from cntbench.results.selection import labels_of
    from cntbench.results.storage import make_folder, open_results
    from cntbench.views.readouts import task_of_interest

    kinds = _chosen("format", formats, FORMATS)
    check_folder(output)
    tree = open_results(results)
    pictures = usable("picture") if only is None else room("picture")
    root = tree.to_dataset(inherit=False)
    chosen = Chosen(
        task,
        checkpoint,
        names_in(checkpoints, labels_of(root, "checkpoint")),
        names_in(metrics),
        tree if comparison is None else open_comparison(comparison),
        {
            "task": task or task_of_interest(root),
            "ablation": ablation or str(root["ablation"].values[0]),
        },
    )
    drawn, lines = {}, []
    names = _chosen("picture", only, pictures)
    inputs = [results] if comparison is None else [results, comparison]
    for kind in kinds:
        files = [output / f"{name}.{kind}" for name in names]
        check_files(files, KINDS[kind], inputs=inputs, force=force)
    for name in names:
        try:
            with in_file(results):
                drawn[name] = pictures[name].module.of_result(tree, chosen)
        except MissingGroupError as error:
            lacking = error.missing.in_file(str(results), str(tree.attrs.get("history", "")))
            lines.append(f"No {name}: {lacking.what} To make it: {lacking.command}")
    make_folder(output)
    for name, figure in drawn.items():
        for kind in kinds:
            save(figure, output / f"{name}.{kind}", force=force)
    lines.insert(0, f"Drawn into {output} as {', '.join(kinds)}: {', '.join(drawn) or 'nothing'}.")
    for line in lines:
        out.print(line, markup=False)


def _chosen(kind: str, names: str | None, known: Collection[str]) -> tuple[str, ...]:
    """Return the chosen names, or all; an unknown name is an error."""
    chosen = tuple(known) if names is None else names_in(names) or ()
    for name in chosen:
        if name not in known:
            raise unknown(kind, name, known)
    if not chosen:
        raise CntbenchError(f"no {kind} is named", hint=f"Allowed: {', '.join(known)}.")
    return tuple(distinct(kind, chosen))
