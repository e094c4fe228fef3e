"""The commands for known circuits and other tools: ``planted save``, ``score``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cntbench.cli.options import DatasetPath, Force, Specs, out, write_output
from cntbench.cli.usage import App
from cntbench.models.planted.spec import Difficulty

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
