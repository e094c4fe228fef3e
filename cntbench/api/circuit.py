"""The Python interface to circuits: ``circuit``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from cntbench.comparison.circuits.command import (
    Evaluation,
    LoadedModel,
    evaluate_circuits,
    last_measured,
    load_model,
)
from cntbench.comparison.circuits.faithfulness import DRAWS, RANKINGS, Choice
from cntbench.errors import ARGUMENTS, CntbenchError, Named, distinct, in_file, shown, unknown
from cntbench.exchange.graph_circuits import graph_circuits
from cntbench.files.output import Folders, path_tuple
from cntbench.models.checkpoint_choice import chosen_by
from cntbench.models.in_memory import read_model
from cntbench.models.precision import TYPES
from cntbench.plugins.folders import with_specs
from cntbench.prompts.tables import is_table
from cntbench.reporting.progress import progress_bar
from cntbench.reporting.terminal import Terminal
from cntbench.results.checking import as_result
from cntbench.results.storage import open_results
from cntbench.runs.arguments import checked_arguments, plain
from cntbench.runs.catalogue import Catalogue, load_catalogue
from cntbench.runs.options import Names, name_tuple
from cntbench.runs.tasks import Task, task_in_memory
from cntbench.views.readouts import task_of_interest


@checked_arguments
@with_specs
def circuit(
    results: xr.DataTree | xr.Dataset | str | Path | Sequence[str | Path],
    task: Names | None = None,
    ablation: Names | None = None,
    *,
    checkpoint: str | int | None = None,
    budgets: Sequence[float] | None = None,
    ranking: Names | None = None,
    select: str = "top",
    threshold: float | None = None,
    in_graph: bool = False,
    patch: str | None = None,
    readout: str | None = None,
    draws: int = DRAWS,
    seed: int | None = None,
    trajectory: str | None = None,
    model: Any = None,
    tokenizer: Any = None,
    prompts: Any = None,
    specs: Folders = (),
    progress: bool | None = None,
) -> xr.Dataset:
    """Measure how much of the readout the circuits of a result's methods recover.

    Parameters
    ----------
    results
        A result, a film, a selection from either, or the path of a file. Or graphs of EAP-IG or
        MIB, ``.json``: they need a ``trajectory`` or ``model``, and a ``task``.
    task, ablation
        One name or several. By default the task ``induction``, else the first; all ablations.
    checkpoint
        Its name or step; by default the last one that was measured.
    budgets
        Shares of the edges, 0 to 1; by default those of MIB, 0.001 to 0.5.
    ranking
        ``"signed"``: edges whose patching hurts the readout most come first; ``"absolute"``: those
        whose patching changes it most. By default both.
    select
        ``"top"``: the edges of the highest scores; ``"greedy"``: starting at the readout, the best
        edges into nodes that are already in the circuit.
    in_graph
        For graphs: evaluate their own circuits instead of their best edges.
    threshold
        Instead of budgets, with one ranking: all edges of at least this score.
    patch
        Ablation whose replacement patches the edges outside a circuit; by default ``resample``,
        which uses the corrupted twins, and ``mean`` for a task without twins.
    readout
        Readout to recover; by default the first of the task's effects.
    draws
        Number of random circuits per circuit.
    seed
        Seed of prompts and random circuits; by default the result's. Another seed draws prompts
        that the scores were not computed on.
    trajectory
        Where the weights are now, if they have moved.
    model, tokenizer, prompts
        As passed to `influence`, for a film that it returned. For graphs, ``prompts`` may be the
        number of prompts.
    specs, progress
        As `run` takes them.

    Returns
    -------
    xarray.Dataset
        ``faithfulness`` by budget with its interval, ``cpr`` and ``cmd``, and the same for
        complements and random circuits, dims ``task, ablation, ranking, budget, draw``.

    Raises
    ------
    CntbenchError
        If a name is unknown, a budget holds no edge, or the weights or prompts of the result are
        missing.
    """
    where = "cntbench.circuit"
    if budgets is not None:
        budgets = _shares(budgets, f"{where}: budgets")
    catalogue = load_catalogue(path_tuple(specs))
    moment = None if checkpoint is None else str(checkpoint)
    with progress_bar(Terminal(stderr=True), shown=progress) as report, in_file(where):
        rankings = _names(ranking, "ranking") or RANKINGS
        graphs = () if isinstance(results, xr.Dataset | xr.DataTree) else _graphs(results)
        for key, place in (("trajectory", trajectory), ("checkpoint", graphs and moment)):
            if model is not None and place:
                raise CntbenchError(
                    "would have no effect beside a model in memory",
                    where=f"{ARGUMENTS}: {key}",
                    hint=f"Leave out either {key} or model.",
                )
        names, methods = _names(task, "task"), _names(ablation, "ablation")
        if isinstance(results, xr.Dataset | xr.DataTree):
            root = as_result(results, where="the result").to_dataset(inherit=False)
        elif graphs:
            seed = seed or 0
            choice = Choice(budgets, rankings, select, threshold, draws, seed)  # type: ignore[arg-type]
            if methods:
                raise CntbenchError(
                    "a graph has no ablations to choose",
                    where=f"{ARGUMENTS}: ablation",
                    hint="Name the graphs of the methods.",
                )
            tasks = [_task(catalogue, name) for name in names or ()]
            if not tasks or (trajectory is None and model is None):
                raise CntbenchError(
                    "a graph does not say what it was measured on",
                    hint="Name a trajectory and a task: --trajectory=nano and --task=induction.",
                )
            count = 32 if prompts is None else prompts
            if type(count) is not int or count < 1:
                raise CntbenchError(
                    f"{shown(prompts)} is not allowed",
                    where=f"{ARGUMENTS}: prompts",
                    hint="Of graphs, it is a number; prompts of your own are a task: task=FILE.",
                )
            with chosen_by(f"{ARGUMENTS}: checkpoint"), in_file(f"{ARGUMENTS}: trajectory"):
                loaded = (
                    LoadedModel.open(str(trajectory), moment, catalogue, report)
                    if model is None
                    else _in_memory(model, tokenizer, "float32", catalogue)
                )
            evaluation = Evaluation(patch, readout, count, seed)
            return graph_circuits(graphs, tasks, loaded, evaluation, choice, in_graph=in_graph)
        else:
            root = open_results(*path_tuple(results)).to_dataset(inherit=False)
        if in_graph:
            raise CntbenchError(
                "only the graphs of EAP-IG and MIB have circuits of their own, a result has none",
                where=f"{ARGUMENTS}: in_graph",
                hint="Name graphs (.json), or leave --in-graph out.",
            )
        seed = int(root.attrs.get("seed", 0)) if seed is None else seed
        choice = Choice(budgets, rankings, select, threshold, draws, seed)  # type: ignore[arg-type]
        chosen = names or (task_of_interest(root),)
        at = last_measured(root, moment)
        count = int(root.attrs.get("prompts", 32))
        if prompts is not None:
            user_task, count = task_in_memory(prompts, chosen[0], where, _answer(root, chosen[0]))
            catalogue = replace(catalogue, tasks=Named({user_task.name: user_task}))
        loaded = (
            load_model(root, at, catalogue, report, trajectory=trajectory)
            if model is None
            else _in_memory(model, tokenizer, root.attrs.get("dtype", "float32"), catalogue)
        )
        labels = {"task": chosen, "ablation": methods, "checkpoint": at}
        evaluation = Evaluation(patch, readout, count, seed)
        return evaluate_circuits(root, labels, loaded, evaluation, choice)


def _names(names: Names | None, key: str) -> Sequence[str] | None:
    """Return the names that an argument gives, each once and at least one; None if it is None."""
    if names is None:
        return None
    where = f"{ARGUMENTS}: {key}"
    listed = name_tuple(names, where)
    if not listed:
        what, hint = f"no {key} is named", "Name one or more, or leave it out."
        raise CntbenchError(what, where=where, hint=hint)
    return distinct(key, listed, where=where)


def _shares(budgets: Sequence[float], where: str) -> tuple[float, ...]:
    """Return budgets as numbers."""
    shares = tuple(map(plain, budgets)) if isinstance(budgets, Iterable) else budgets
    if not isinstance(shares, tuple) or not all(type(share) in (int, float) for share in shares):
        raise CntbenchError(
            f"{shown(budgets)} is not a list of numbers",
            where=where,
            hint="Write shares of the edges: [0.01, 0.1].",
        )
    return shares


def _graphs(results: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the paths if they are graphs, or none if the input is a result."""
    paths = path_tuple(results)
    graphs = tuple(path for path in paths if path.suffix == ".json")
    if len(paths) != 1 and len(graphs) < max(len(paths), 1):
        raise CntbenchError(
            "expected one result, or graphs of EAP-IG",
            hint="Name one results.nc, or files that end with .json.",
        )
    return graphs


def _task(catalogue: Catalogue, name: str) -> Task:
    if name not in catalogue.tasks and not is_table(name):
        raise unknown("task", name, catalogue.tasks, where=f"{ARGUMENTS}: task")
    return catalogue.task(name)


def _in_memory(model: Any, tokenizer: Any, dtype: str, catalogue: Catalogue) -> LoadedModel:
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        trajectory, decoder, _ = read_model(model, tokenizer, TYPES[dtype])  # type: ignore[index]
    return LoadedModel(trajectory, trajectory.checkpoints[0], decoder, catalogue)


def _answer(root: xr.Dataset, task: str) -> str | None:
    """Return the argument ``answer`` of the `influence` call that made a result."""
    spec = json.loads(root.attrs.get("spec", "{}")).get("tasks", {}).get(task, {})
    answer: str | None = spec.get("parameters", {}).get("answer")
    return answer
