"""The commands for other programs: ``export``, ``import``, ``seal``, ``planted``, ``score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from cntbench.cli.options import (
    DatasetPath,
    Force,
    Jobs,
    ResultsPath,
    Specs,
    err,
    names_in,
    out,
    write_output,
)
from cntbench.cli.usage import App
from cntbench.errors import CntbenchError, in_file
from cntbench.models.planted.spec import Difficulty
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


planted = App(
    name="planted", help="Circuits whose edges are known, for other tools.", no_args_is_help=True
)


@planted.callback()
def _planted() -> None:
    pass


@planted.command()
def save(
    name: Annotated[
        str, typer.Argument(help="A planted circuit; see cntbench list planted.", metavar="NAME")
    ],
    folder: Annotated[
        Path, typer.Argument(help="Folder to write, new or replaced.", metavar="FOLDER")
    ],
    difficulty: Annotated[
        Difficulty | None,
        typer.Option(
            help="The exact model (default), the one with real LayerNorm and overlap, or that of a "
            "trained circuit (its default)."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=999_999_999, help="Seed of what the circuit leaves open.")
    ] = 0,
    prompts: Annotated[int, typer.Option(min=2, help="Number of prompts of each task.")] = 64,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Write a circuit's model for transformers, its true edges, and its prompts."""
    from cntbench.exchange.known_circuits import TRUTH, save_circuit
    from cntbench.reporting.wording import counted
    from cntbench.runs.catalogue import load_catalogue

    (known,) = load_catalogue(specs or ()).known_circuits([name])
    truth = save_circuit(
        known, folder, difficulty=difficulty, seed=seed, prompts=prompts, force=force
    )
    edges = counted(sum("direct" in edge["purposes"] for edge in truth["edges"]), "direct edge")
    out.print(
        f"Wrote the model, {', '.join(truth['prompts'].values())} and {TRUTH} "
        f"({edges} among {truth['feasible_edges']} feasible ones): {folder}. To score "
        f"a graph of this model:\n\n    cntbench score GRAPH.json --on {name}\n",
        markup=False,
    )


def score(
    graphs: Annotated[
        list[Path],
        typer.Argument(help="Graphs as EAP-IG and MIB write them.", metavar="GRAPH.json..."),
    ],
    on: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The planted circuit whose model the graphs are of; see cntbench list planted.",
        ),
    ],
    circuit: Annotated[
        bool,
        typer.Option("--circuit", help="Set the scores of edges outside the graph's circuit to 0."),
    ] = False,
    output: DatasetPath = None,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Score graphs of other tools on a circuit whose edges are known."""
    from cntbench.exchange.scores import SCORES, score_files
    from cntbench.files.output import check_output
    from cntbench.reporting.circuits import score_table
    from cntbench.runs.catalogue import load_catalogue

    if output is not None:
        check_output(output, SCORES, inputs=[*graphs, *(specs or ())], force=force)
    (known,) = load_catalogue(specs or ()).known_circuits([on])
    scores = score_files(graphs, known.circuit, in_graph=circuit)
    out.print(score_table(scores))
    write_output(scores, output, SCORES, force=force)
