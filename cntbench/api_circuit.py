"""What Python users call for circuits: ``circuit``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from cntbench.circuits.command import Subject, Work, circuits_of, last_measured, subject_of
from cntbench.circuits.faithfulness import DRAWS, RANKINGS, Choice
from cntbench.errors import CntbenchError, Named, in_file, unknown
from cntbench.exchange.graph_circuits import graph_circuits
from cntbench.models.in_memory import read_model
from cntbench.models.precision import TYPES
from cntbench.output import Folders, path_tuple
from cntbench.plugin_folders import with_specs
from cntbench.prompts.tables import is_table
from cntbench.reporting.terminal import Terminal, progress_bar
from cntbench.results.checking import as_result
from cntbench.results.storage import open_results
from cntbench.runs.catalogue import Catalogue, load_catalogue
from cntbench.runs.launch import Names, name_tuple
from cntbench.runs.tasks import Task, task_in_memory
from cntbench.views.readouts import task_of_interest


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
    """Put the circuits of a result's methods to work: how much of the readout they recover.

    Parameters
    ----------
    results
        A result, a film, a selection from either, or the path of a file. Or graphs of EAP-IG or
        MIB, ``.json``: they need a ``trajectory`` or ``model``, and a ``task``.
    task, ablation
        One name or several; by default the task ``induction`` or the first, and all ablations.
    checkpoint
        Its name or step; by default the last that was measured.
    budgets
        Shares of the edges, 0 to 1; by default those of MIB, 0.001 to 0.5.
    ranking
        ``"signed"``: edges whose patching hurts the readout most come first; ``"absolute"``: those
        whose patching changes it most. By default both.
    select
        ``"top"``: the best edges; ``"greedy"``: the best edges into what is already reached,
        walking from the readout.
    in_graph
        Of graphs, their own circuits instead of their best edges.
    threshold
        Instead of budgets, with one ranking: all edges of at least this score.
    patch
        Ablation whose replacement patches the edges outside of a circuit; by default ``resample``,
        the corrupted twins, and ``mean`` for a task without twins.
    readout
        Readout to recover; by default the first of the task's effects.
    draws
        Random circuits for each circuit.
    seed
        Of prompts and random circuits; by default the result's. Another one gives prompts that the
        scores have not seen.
    trajectory
        Where the weights are now, if they have moved.
    model, tokenizer, prompts
        The model, tokenizer and own prompts of `influence`, for what it has returned. For graphs,
        ``prompts`` may be their number.
    specs, progress
        As `run` takes them.

    Returns
    -------
    xarray.Dataset
        ``faithfulness`` over budgets with its interval, ``cpr``, ``cmd``, those of the complement
        and of random circuits, dims ``task, ablation, ranking, budget, draw``.

    Raises
    ------
    CntbenchError
        If a name is unknown, a budget holds no edge, or the weights and prompts that the result was
        measured on are not there.
    """
    where = "cntbench.circuit"
    catalogue = load_catalogue(path_tuple(specs))
    moment = None if checkpoint is None else str(checkpoint)
    rankings = RANKINGS if ranking is None else name_tuple(ranking)
    with progress_bar(Terminal(stderr=True), shown=progress) as report, in_file(where):
        if isinstance(results, xr.Dataset | xr.DataTree):
            root = as_result(results, where="the result").to_dataset(inherit=False)
        elif graphs := _graphs(results):
            seed = seed or 0
            choice = Choice(budgets, rankings, select, threshold, draws, seed)  # type: ignore[arg-type]
            names = () if task is None else name_tuple(task)
            tasks = [_task(catalogue, name) for name in names]
            if not tasks or (trajectory is None and model is None):
                raise CntbenchError(
                    "a graph does not say what it was measured on",
                    hint="Name a trajectory and a task: --trajectory nano --task induction.",
                )
            subject = (
                Subject.open(str(trajectory), moment, catalogue, report)
                if model is None
                else _in_memory(model, tokenizer, "float32", catalogue)
            )
            work = Work(patch, readout, 32 if prompts is None else int(prompts), seed)
            return graph_circuits(graphs, tasks, subject, work, choice, inside=in_graph)
        else:
            root = open_results(Path(results)).to_dataset(inherit=False)  # type: ignore[arg-type]
        if in_graph:
            raise CntbenchError("in_graph is about graphs of EAP-IG, and this is a result")
        seed = int(root.attrs.get("seed", 0)) if seed is None else seed
        choice = Choice(budgets, rankings, select, threshold, draws, seed)  # type: ignore[arg-type]
        chosen = (task_of_interest(root),) if task is None else name_tuple(task)
        at = last_measured(root, moment)
        count = int(root.attrs.get("prompts", 32))
        if prompts is not None:
            own, count = task_in_memory(prompts, chosen[0], where, _answer(root, chosen[0]))
            catalogue = replace(catalogue, tasks=Named({own.name: own}))
        subject = (
            subject_of(root, at, catalogue, report, trajectory=trajectory)
            if model is None
            else _in_memory(model, tokenizer, root.attrs.get("dtype", "float32"), catalogue)
        )
        labels = {"task": chosen, "ablation": ablation and name_tuple(ablation), "checkpoint": at}
        return circuits_of(root, labels, subject, Work(patch, readout, count, seed), choice)


def _graphs(results: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the files of graphs, or none if there is a result instead."""
    paths = path_tuple(results)
    graphs = tuple(path for path in paths if path.suffix == ".json")
    if len(paths) > 1 and len(graphs) < len(paths):
        raise CntbenchError(
            "circuits are those of one result, or of graphs of EAP-IG",
            hint="Name one results.nc, or files that end with .json.",
        )
    return graphs


def _task(catalogue: Catalogue, name: str) -> Task:
    if name not in catalogue.tasks and not is_table(name):
        raise unknown("task", name, catalogue.tasks)
    return catalogue.task(name)


def _in_memory(model: Any, tokenizer: Any, dtype: str, catalogue: Catalogue) -> Subject:
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
        trajectory, decoder, _ = read_model(model, tokenizer, TYPES[dtype])  # type: ignore[index]
    return Subject(trajectory, trajectory.checkpoints[0], decoder, catalogue)


def _answer(root: xr.Dataset, task: str) -> str | None:
    """Return what of answers was scored in a result, as `influence` was told."""
    spec = json.loads(root.attrs.get("spec", "{}")).get("tasks", {}).get(task, {})
    answer: str | None = spec.get("parameters", {}).get("answer")
    return answer
