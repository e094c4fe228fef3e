"""The command that measures the faithfulness of circuits: ``circuit``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from cntbench.cli.options import DatasetPath, Force, ResultsPath, Specs, names_in, out
from cntbench.errors import CntbenchError, in_file


def circuit(
    results: ResultsPath,
    task: Annotated[
        str | None,
        typer.Option(
            help="Tasks, separated by commas (default: induction, or the first).", metavar="NAMES"
        ),
    ] = None,
    ablation: Annotated[
        str | None,
        typer.Option(help="Methods, separated by commas (default: all).", metavar="NAMES"),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Its name or step (default: the last measured).", metavar="NAME"),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Percentages of the edges, separated by commas (default: those of MIB, "
            "0.1,0.2,0.5,1,2,5,10,20,50).",
            metavar="PERCENT",
        ),
    ] = None,
    ranking: Annotated[
        str | None,
        typer.Option(
            help="Rank edges by signed or absolute effects (default: both).",
            metavar="NAMES",
        ),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            help="top: the best edges; greedy: from the readout back, the best edges into nodes "
            "that are already in the circuit.",
            metavar="RULE",
        ),
    ] = "top",
    threshold: Annotated[
        float | None,
        typer.Option(help="Instead of budgets: all edges of at least this score."),
    ] = None,
    patch: Annotated[
        str | None,
        typer.Option(
            help="Ablation whose replacement patches the edges outside a circuit (default: "
            "resample, from the corrupted twins; mean for a task without twins).",
            metavar="NAME",
        ),
    ] = None,
    readout: Annotated[
        str | None,
        typer.Option(
            help="Readout to recover (default: the first of the task's effects).", metavar="NAME"
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=0, help="Random circuits for each circuit.")] = 10,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of prompts and random circuits (default: the result's seed; another one "
            "gives prompts that were not used for the scores)."
        ),
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(help="The trajectory, if its weights have moved.", metavar="SOURCE"),
    ] = None,
    output: DatasetPath = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add the dataset to RESULTS, for its report and figures.")
    ] = False,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Measure how much of the readout a method's circuits recover, by budget of edges."""
    from cntbench.api_circuit import circuit as put_to_work
    from cntbench.circuits.command import CIRCUITS, add_circuits, write_circuits
    from cntbench.output import check_output
    from cntbench.reporting.circuits import circuit_tables
    from cntbench.results.storage import open_results

    if output is not None:
        check_output(output, CIRCUITS, inputs=[results, *(specs or ())], force=force)
    tree = open_results(results)
    with in_file(results):
        dataset = put_to_work(
            tree,
            names_in(task),
            names_in(ablation),
            checkpoint=checkpoint,
            budgets=_shares(budgets),
            ranking=names_in(ranking),
            select=select,
            threshold=threshold,
            patch=patch,
            readout=readout,
            draws=draws,
            seed=seed,
            trajectory=trajectory,
            specs=specs or (),
        )
    out.print(circuit_tables(dataset))
    if output is not None:
        write_circuits(dataset, output, force=force)
        out.print(f"The dataset is in {escape(str(output))}.", highlight=False)
    if add:
        add_circuits(tree, dataset, results)
        out.print(f"{escape(str(results))} has the group faithfulness.", highlight=False)


def _shares(budgets: str | None) -> list[float] | None:
    """Return percentages of the edges as fractions."""
    if budgets is None:
        return None
    try:
        shares = [float(text.removesuffix("%")) / 100 for text in names_in(budgets) or ()]
    except ValueError:
        shares = []
    if not shares:
        raise CntbenchError(
            f"{budgets!r} is not a list of percentages",
            where="--budgets",
            hint="Separate percentages with commas: --budgets 1,5,20.",
        )
    return shares
