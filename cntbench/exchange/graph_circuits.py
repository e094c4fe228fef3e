"""Graphs of EAP-IG and MIB as circuits: a score for every edge, with separate q, k and v inputs.

Scores mean what they mean in MIB: the signed ranking starts with the highest, so a score should be
the change of a loss when the edge is corrupted. A feasible edge that a file does not list has score
0, as in EAP-IG's reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cntbench.comparison.circuits.command import Evaluation, LoadedModel, over_tasks
from cntbench.comparison.circuits.faithfulness import Choice, EdgeScores
from cntbench.components import feasible
from cntbench.errors import ARGUMENTS, CntbenchError
from cntbench.exchange.eap_graph import EapGraph, ImportFileError, read_eap_graph, shape_words
from cntbench.results.storage import distinct_files
from cntbench.runs.tasks import Task


def graph_circuits(
    paths: Sequence[Path],
    tasks: Sequence[Task],
    model: LoadedModel,
    evaluation: Evaluation,
    choice: Choice,
    *,
    in_graph: bool = False,
) -> xr.Dataset:
    """Evaluate the circuits of graph files.

    Parameters
    ----------
    paths
        The files, which become the dim ``ablation``.
    model, evaluation, choice
        As in `cntbench.comparison.circuits.command.evaluate_circuits`.
    in_graph
        Whether to evaluate each file's own circuit (``in_graph``) instead of its best edges.

    Raises
    ------
    CntbenchError
        If a file cannot be read, is of another model, is a circuit of neurons, or has no scores.
    """
    distinct_files(paths)
    labels = [path.stem for path in paths]
    names = labels if len({*labels}) == len(labels) else [str(path) for path in paths]
    scores = {}
    for name, path in zip(names, paths, strict=True):
        graph = read_eap_graph(path)
        _check(graph, model, scored=not in_graph)
        scores[name] = graph_scores(graph, in_graph=in_graph)
    if in_graph:
        if choice != Choice(draws=choice.draws, seed=choice.seed):
            raise CntbenchError(
                "budgets, ranking, select and threshold would have no effect on a graph's own "
                "circuit",
                where=f"{ARGUMENTS}: in_graph",
                hint="Leave out either --in-graph (in_graph=True) or what chooses edges.",
            )
        choice = replace(choice, rankings=("absolute",), threshold=0.5)
    circuits = over_tasks([model.evaluate(task, scores, evaluation, choice) for task in tasks])
    return circuits.assign_attrs(selection="their own circuits") if in_graph else circuits


def graph_scores(graph: EapGraph, *, in_graph: bool = False) -> EdgeScores:
    """Return the scores of a graph's edges, dims ``input, source, target``.

    With ``in_graph``, 1 for the edges of the graph's own circuit and 0 for the others.
    """
    count = len(graph.components)
    values = np.full((len("qkv"), count + 1, count + 1), np.nan)
    for (source, target), heads in np.ndenumerate(_inputs(graph)):
        values[:heads, source, target] = 0.0
    for name, edge in graph.edges.items():
        source = 0 if edge.source is None else edge.source + 1
        target = count if edge.target is None else edge.target
        head_input = "qkv".index(name[-2]) if name.endswith(">") else 0
        values[head_input, source, target] = edge.in_graph if in_graph else edge.score
    return EdgeScores(values)


def _inputs(graph: EapGraph) -> NDArray[np.int64]:
    """Return the number of edges between two nodes: 3 into heads, 1 into others, 0 if none."""
    count = len(graph.components)
    edges = np.ones((count + 1, count + 1), dtype=int)
    edges[1:, :-1] = feasible(graph.components)
    return edges * np.array([*(1 if n.head is None else 3 for n in graph.components), 1])


def _check(graph: EapGraph, model: LoadedModel, *, scored: bool) -> None:
    """Raise an error if a graph cannot be run in a model."""
    where, nodes = str(graph.path), model.model.components
    if graph.components != nodes:
        raise ImportFileError(
            f"is of {graph.shape}, and {model.trajectory.identity} of {shape_words(nodes)}",
            where=f"{where}: cfg",
            hint="Name the graph's model by --trajectory.",
        )
    if graph.neurons:
        raise ImportFileError(
            "is a circuit of neurons, whose edges carry parts of a component's output",
            where=f"{where}: nodes",
            hint="Expected a graph of whole components.",
        )
    if scored and not graph.scored:
        raise ImportFileError(
            "has a circuit but no scores to choose edges by",
            where=f"{where}: edges",
            hint="Evaluate the file's own circuit with --in-graph (in_graph=True).",
        )
    if not scored and not any(edge.in_graph for edge in graph.edges.values()):
        raise ImportFileError("has no edge in its circuit", where=f"{where}: edges")
