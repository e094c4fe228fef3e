"""The commands that write and read other programs' files: ``export``, ``import``, ``seal``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from cntbench.cli.options import Force, Jobs, ResultsPath, Specs, err, names_in, out
from cntbench.errors import CntbenchError, in_file
from cntbench.plugins import find
from cntbench.runs.resources import cores

Draws = Annotated[int, typer.Option(min=0, help="Number of draws from each null model.")]


def export(
    results: ResultsPath,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="A file; its suffix selects the format: .graphml, .gexf, .csv, .csv.gz, .parquet. "
            "Or a folder for the whole result, with --format.",
        ),
    ],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Format of the files in a folder; see cntbench list formats.",
        ),
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
        typer.Option(
            "--checkpoint",
            "--checkpoints",
            help="Checkpoints: 1200, step1200, 1000:5000, count=4, separated by commas (default: "
            "all).",
            metavar="CHOICE",
        ),
    ] = None,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Write a result for other programs: graphs, films for Gephi, tidy tables."""
    from cntbench.exchange.export import chosen
    from cntbench.exchange.export import export as export_result
    from cntbench.reporting.wording import counted
    from cntbench.results.selection import labels_of
    from cntbench.results.storage import open_results

    texts = {"task": task, "ablation": ablation, "checkpoint": checkpoint}
    if format_ is not None:
        with in_file("--format"):
            find("export format", format_)
    with in_file(results):
        tree = open_results(results)
        labels = {dim: labels_of(tree.to_dataset(inherit=False), dim) for dim in texts}
        tree = chosen(tree, {dim: names_in(text, labels[dim]) for dim, text in texts.items()})
        written = export_result(tree, output, format_, inputs=[results], force=force)
    size = decimal(sum(path.stat().st_size for path in written))
    files = counted(len(written), "file")
    out.print(f"Wrote {files}, {size}: {output}", markup=False)


def import_(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Graphs written by Graph.to_json of EAP-IG, one for each checkpoint.",
            metavar="FILE[@STEP]...",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The result, as netCDF.")
    ],
    task: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the task in the result.")
    ] = "imported",
    ablation: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the method in the result.")
    ] = "eap",
    readout: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The readout whose changes the scores are; see cntbench list readouts.",
        ),
    ] = "logit_difference",
    negate: Annotated[
        bool,
        typer.Option(
            "--negate",
            help="The scores are changes of a loss, the negative of the readout: flip their sign.",
        ),
    ] = False,
    circuit: Annotated[
        bool, typer.Option("--circuit", help="Set the scores of edges outside the circuit to 0.")
    ] = False,
    draws: Draws = 200,
    jobs: Jobs = None,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Make a result from graphs of EAP or EAP-IG: metrics, nulls, roles, claims."""
    from cntbench.exchange.eap_import import Labels, described, import_graphs, read_graphs
    from cntbench.files.output import check_output
    from cntbench.reporting.progress import progress_bar
    from cntbench.results.storage import RESULT, write_results
    from cntbench.runs.catalogue import load_catalogue

    with in_file("--readout"):
        find("readout", readout)
    for option, name in {"--task": task, "--ablation": ablation}.items():
        if not name:
            raise CntbenchError(f'{option} = "" is not allowed', hint="It must not be empty.")
    graphs = read_graphs(files)
    inputs = [*(graph.path for graph in graphs.values()), *(specs or ())]
    check_output(output, RESULT, inputs=inputs, force=force)
    labels = Labels(task, ablation, readout, negate, circuit)
    claims = load_catalogue(specs or ()).some_claims()
    with progress_bar(err) as progress, in_file(", ".join(files)):
        tree = import_graphs(
            graphs, labels, claims, draws=draws, jobs=jobs or cores(), progress=progress
        )
    write_results(tree, output)
    out.print(described(graphs), markup=False)
    out.print(
        f"The result is in {output}. To show it:\n\n    cntbench show {output}\n",
        markup=False,
    )


def seal(
    results: Annotated[
        Path, typer.Argument(help="A netCDF file that xarray has written.", metavar="FILE")
    ],
    draws: Draws = 200,
    jobs: Jobs = None,
    specs: Specs = None,
) -> None:
    """Give a film or a selection that xarray has written its checksum and its derived groups."""
    from cntbench.analysis.sealing import seal as seal_file
    from cntbench.reporting.progress import progress_bar

    with progress_bar(err) as progress, in_file(results):
        seal_file(results, draws=draws, jobs=jobs or cores(), progress=progress)
    out.print(
        f"{results} has its checksum and its derived groups. To test claims on it:\n\n"
        f"    cntbench claims {results}\n",
        markup=False,
    )
