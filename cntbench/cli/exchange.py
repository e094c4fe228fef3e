"""Commands that take results elsewhere, and bring others' graphs here: ``export``, ``import``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape

from cntbench.cli.options import Force, Jobs, Specs, err, names_in, out
from cntbench.errors import in_file
from cntbench.runs.resources import cores


class ReadoutName(StrEnum):
    """What scores of a graph can be changes of."""

    CROSS_ENTROPY = "cross_entropy"
    ACCURACY = "accuracy"
    LOGIT_DIFFERENCE = "logit_difference"


class FormatName(StrEnum):
    """What results can be exported to."""

    GRAPHML = "graphml"
    GEXF = "gexf"
    CSV = "csv"
    PARQUET = "parquet"


def export(
    results: Annotated[Path, typer.Argument(help="A results.nc file.", metavar="RESULTS")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="A file whose name tells the format: .graphml, .gexf, .csv, .csv.gz, .parquet; "
            "or a folder for all there is, with --format.",
        ),
    ],
    format_: Annotated[
        FormatName | None, typer.Option("--format", help="Format of the files in a folder.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Tasks, separated by commas (default: all).", metavar="NAMES")
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option(help="Ablations, separated by commas (default: all).", metavar="NAMES"),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoints, separated by commas (default: all).", metavar="NAMES"),
    ] = None,
    force: Force = False,
) -> None:
    """Write a result for other programs: graphs, films for Gephi, tidy tables."""
    from cntbench.exchange.choice import chosen
    from cntbench.exchange.export import export as export_result
    from cntbench.results.storage import open_results

    names = {
        "task": names_in(task),
        "ablation": names_in(ablation),
        "checkpoint": names_in(checkpoint),
    }
    asked = None if format_ is None else format_.value
    with in_file(results):
        tree = chosen(open_results(results), names)
        written = export_result(tree, output, asked, inputs=[results], force=force)
    size = decimal(sum(path.stat().st_size for path in written))
    what = "1 file" if len(written) == 1 else f"{len(written)} files"
    out.print(f"Wrote {what}, {size}: {escape(str(output))}", highlight=False)


def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Graphs as EAP-IG's Graph.to_json writes them, one for each checkpoint.",
            metavar="FILE[@STEP]...",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The result, as netCDF.")
    ],
    task: Annotated[
        str, typer.Option(metavar="NAME", help="What the task is called in the result.")
    ] = "imported",
    ablation: Annotated[
        str, typer.Option(metavar="NAME", help="What the method is called in the result.")
    ] = "eap",
    readout: Annotated[
        ReadoutName, typer.Option(help="What the scores are changes of.")
    ] = ReadoutName.LOGIT_DIFFERENCE,
    negate: Annotated[
        bool,
        typer.Option(
            "--negate",
            help="The scores are of a loss, the negative of the readout: turn their sign.",
        ),
    ] = False,
    circuit: Annotated[
        bool,
        typer.Option("--circuit", help="Scores of edges that are not in the circuit are 0."),
    ] = False,
    draws: Annotated[int, typer.Option(min=0, help="Number of draws from each null model.")] = 200,
    jobs: Jobs = None,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Make a result of graphs that EAP or EAP-IG has found: metrics, nulls, roles, claims."""
    from cntbench.exchange.eap_import import Labels, described, import_graphs, read_graphs
    from cntbench.output import check_output
    from cntbench.report.terminal import progress_bar
    from cntbench.results.storage import RESULT, write_results
    from cntbench.runs.catalogue import load_catalogue

    graphs = read_graphs(files)
    inputs = [*(graph.path for graph in graphs.values()), *(specs or ())]
    check_output(output, RESULT, inputs=inputs, force=force)
    labels = Labels(task, ablation, readout.value, negate, circuit)
    claims = load_catalogue(specs or ()).some_claims()
    with progress_bar(err) as progress, in_file(", ".join(files)):
        tree = import_graphs(
            graphs, labels, claims, draws=draws, jobs=jobs or cores(), progress=progress
        )
    write_results(tree, output)
    out.print(described(graphs), markup=False, highlight=False)
    out.print(
        f"The result is in {escape(str(output))}. To look at it:\n\n"
        f"    cntbench show {escape(str(output))}\n",
        highlight=False,
    )
