"""Commands that take results elsewhere, and bring others' graphs here: ``export``, ``import``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cntbench.launch import cores
from cntbench.options import Jobs, Specs, err, out


class ReadoutName(StrEnum):
    """What scores of a graph can be changes of."""

    CROSS_ENTROPY = "cross_entropy"
    ACCURACY = "accuracy"
    LOGIT_DIFFERENCE = "logit_difference"


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
) -> None:
    """Make a result of graphs that EAP or EAP-IG has found: metrics, nulls, roles, claims."""
    from cntbench.catalogue import load_catalogue
    from cntbench.exchange.eap_import import Labels, described, import_graphs, read_graphs
    from cntbench.progress import progress_bar
    from cntbench.storage import write_results

    graphs = read_graphs(files)
    labels = Labels(task, ablation, readout.value, negate, circuit)
    claims = load_catalogue(specs or ()).some_claims()
    with progress_bar(err) as progress:
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
