"""The command that measures the faithfulness of circuits: ``circuit``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from cntbench.cli.options import DatasetPath, Force, Specs, names_in, out, write_output
from cntbench.errors import CntbenchError, in_file


def circuit(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="A results.nc file; or graphs of EAP-IG or MIB (.json), with --trajectory and "
            "--task.",
            metavar="RESULTS",
        ),
    ],
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
            help="Rank edges by signed or absolute effects (default: both).", metavar="NAMES"
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
        float | None, typer.Option(help="Instead of budgets: all edges of at least this score.")
    ] = None,
    in_graph: Annotated[
        bool, typer.Option("--in-graph", help="For graphs: evaluate their own circuits.")
    ] = False,
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
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Number of prompts, for graphs (default: 32).")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of prompts and random circuits (default: the result's seed; another one "
            "gives prompts that were not used for the scores)."
        ),
    ] = None,
    trajectory: Annotated[
        str | None,
        typer.Option(
            help="The model of graphs; of a result, its trajectory, if its weights have moved.",
            metavar="SOURCE",
        ),
    ] = None,
    output: DatasetPath = None,
    add: Annotated[
        bool, typer.Option("--add", help="Add the dataset to RESULTS, for its report and figures.")
    ] = False,
    specs: Specs = None,
    force: Force = False,
) -> None:
    """Measure how much of the readout a method's circuits recover, by budget of edges."""
    from cntbench.api.circuit import circuit as python_circuit
    from cntbench.comparison.circuits.command import CIRCUITS, add_circuits
    from cntbench.files.output import check_output, check_writable
    from cntbench.reporting.circuits import circuit_tables
    from cntbench.results.selection import labels_of
    from cntbench.results.storage import open_results

    graphs = all(path.suffix == ".json" for path in results)
    if output is not None:
        check_output(output, CIRCUITS, inputs=[*results, *(specs or ())], force=force)
    if prompts is not None and not graphs:
        raise CntbenchError(
            "--prompts is for graphs: a result has its own", hint="--seed draws others."
        )
    if add and (graphs or len(results) > 1):
        raise CntbenchError(
            "--add needs one result to add the circuits to",
            hint="Name one results.nc, or write the dataset with -o.",
        )
    if add:
        check_writable(results[0])
    tree = open_results(results[0]) if len(results) == 1 and not graphs else None
    root = None if tree is None else tree.to_dataset(inherit=False)
    evaluate = inspect.unwrap(python_circuit)  # its errors would name arguments
    with in_file(results[0]):
        dataset = evaluate(
            results if tree is None else tree,
            names_in(task, () if root is None else labels_of(root, "task")),
            names_in(ablation),
            checkpoint=checkpoint,
            budgets=_shares(budgets),
            ranking=names_in(ranking),
            select=select,
            threshold=threshold,
            in_graph=in_graph,
            patch=patch,
            readout=readout,
            draws=draws,
            seed=seed,
            trajectory=trajectory,
            prompts=prompts,
            specs=specs or (),
        )
    out.print(circuit_tables(dataset))
    write_output(dataset, output, CIRCUITS, schema="faithfulness", force=force)
    if add and tree is not None:
        replaced = add_circuits(tree, dataset, results[0])
        instead = ", in place of circuits of another choice" if replaced else ""
        out.print(f"{results[0]} has the group faithfulness{instead}.", markup=False)


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
