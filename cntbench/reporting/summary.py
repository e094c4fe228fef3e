"""The result of a study, as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cntbench.errors import CntbenchError, listed
from cntbench.reporting.sentences.answers import in_short
from cntbench.reporting.terminal import FoldingTable
from cntbench.results.film import usable
from cntbench.results.integrity import audit_results
from cntbench.results.selection import index_of
from cntbench.views.heads import ScoredBehaviour, behaviours
from cntbench.views.readouts import task_of_interest

#: Number of rows in the tables of components.
_ROWS = 5


def summary(
    tree: xr.DataTree,
    task: str | None = None,
    checkpoint: str | None = None,
    *,
    step: int | None = None,
) -> RenderableType:
    """Return the tables: readouts, strongest sources and targets, effects and what heads do.

    Parameters
    ----------
    task
        What the tables of components are about; by default induction, or the first task.
    checkpoint, step
        Their checkpoint, by its name or step; by default the last one that counts.

    Raises
    ------
    CntbenchError
        If there is no such task or checkpoint, or that checkpoint was not measured.
    """
    dataset = tree.to_dataset(inherit=False)
    parts: list[RenderableType] = [*_gaps(dataset)]
    counts = usable(dataset)
    named = checkpoint is not None or step is not None
    position = index_of(dataset, "checkpoint", checkpoint, step=step) if named else None
    name = task_of_interest(dataset)
    if task is not None:
        name = str(dataset["task"].values[index_of(dataset, "task", task)])
    if position is not None and not counts[position]:
        steps = [str(number) for number in dataset["step"].values[counts]]
        raise CntbenchError(
            f"the checkpoint of step {int(dataset['step'][position])} does not count: it is "
            f"{audit_results(dataset)[position].status}",
            hint=f"Steps that count: {listed(steps, 12)}.",
        )
    film = dataset.isel(checkpoint=counts)
    if not film.sizes["checkpoint"]:
        return Group(*parts)
    at = film.sizes["checkpoint"] - 1 if position is None else int(counts[:position].sum())
    if film["readout_value"].notnull().any():  # imported graphs have no readouts
        parts.append(_readouts(film, at))
    parts += [Text(sentence) for sentence in in_short(tree, name, position)]
    parts += _prompts(film)
    moment = film.isel(checkpoint=at).sel(task=name)
    parts.append(_strengths(moment))
    if moment["readout_effect"].sel(readout="logit_difference").notnull().any():
        index = int(np.flatnonzero(dataset["step"].values == moment["step"].item())[0])
        parts.append(_effects(moment, behaviours(dataset, name, index)))
    return Group(*parts)


def _prompts(film: xr.Dataset) -> Iterator[Text]:
    """Yield how many prompts were measured, if a study stops once errors are small."""
    limit = json.loads(film.attrs.get("study_spec", "{}")).get("until_se", 0)
    if not limit or "prompts_measured" not in film:
        return
    counts = film["prompts_measured"].values
    most = int(film.attrs.get("prompts", counts.max()))
    tasks = json.loads(film.attrs.get("spec", "{}")).get("tasks", {})
    files = any(task.get("generator") == "file" for task in tasks.values())
    yield Text(
        f"Prompts until the standard errors of the strongest edges are below {limit:g}"
        f"{', or a file has no more' if files else ''}: "
        f"{counts.min():.0f} to {counts.max():.0f} of {most}, {np.median(counts):g} in the median; "
        f"all {most} in {(counts == most).sum()} of {counts.size} pairs of task and checkpoint. "
        "These errors are stated up to 7 % too small, or more if prompts differ by much, because "
        "measuring stops when they are small."
    )


def _gaps(dataset: xr.Dataset) -> Iterator[Text]:
    for row in audit_results(dataset):
        if row.status != "ok":
            yield Text(f"{row.checkpoint}: {row.status}: {row.reason}", style="yellow")


#: Headings of the readouts that come first.
_READOUTS = {
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy",
    "logit_difference": "logit difference",
}


def _readouts(film: xr.Dataset, at: int) -> Table:
    count = film.sizes["checkpoint"]
    middle = at if at < count - 1 else count // 2
    checkpoints = sorted({0, middle, count - 1})
    steps = ", ".join(str(film["step"].values[checkpoint]) for checkpoint in checkpoints)
    table = FoldingTable(
        f"Readouts of the clean model at step{'s' if len(checkpoints) > 1 else ''} {steps}"
    )
    table.add_column("task")
    readouts = [*_READOUTS, *sorted(set(map(str, film["readout"].values)) - set(_READOUTS))]
    for name in readouts:
        heading = _READOUTS.get(name, name.replace("_", " "))
        table.add_column(escape(heading), justify="right", no_wrap=True)
    for task in film["task"].values:
        cells = [escape(str(task))]
        for readout in readouts:
            values = film["readout_value"].sel(task=task, readout=readout).values
            cells.append(" ".join(f"{values[checkpoint]:5.2f}" for checkpoint in checkpoints))
        table.add_row(*cells)
    return table


def _strengths(moment: xr.Dataset) -> Table:
    table = FoldingTable(
        f"Strongest sources and targets on {escape(moment['task'].item())} at step "
        f"{int(moment['step'])}: mean influence per feasible edge",
        keys=0,
    )
    columns = []
    for ablation in moment["ablation"].values:
        weights = moment["influence"].sel(ablation=ablation)
        for side, other in (("source", "target"), ("target", "source")):
            table.add_column(f"{escape(str(ablation))}\n{side}", no_wrap=True)
            columns.append(_ranked(weights.mean(other), side))
    for row in range(_ROWS):
        table.add_row(*(column[row] for column in columns))
    return table


def _ranked(strength: xr.DataArray, side: str) -> list[str]:
    defined = strength.dropna(side)
    order = np.argsort(-defined.values, kind="stable")[:_ROWS]
    rows = [f"{defined[side].values[i]:<6} {defined.values[i]:.2f}" for i in order]
    return rows + [""] * (_ROWS - len(rows))


def _effects(moment: xr.Dataset, does: Mapping[str, tuple[ScoredBehaviour, ...]]) -> Table:
    effect = moment["readout_effect"].sel(readout="logit_difference")
    error = moment["readout_effect_se"].sel(readout="logit_difference")
    largest = np.nan_to_num(np.abs(effect.values), nan=-1).max(axis=0)
    strongest = [i for i in np.argsort(-largest, kind="stable")[:_ROWS] if largest[i] >= 0]
    table = FoldingTable(
        "Change of the logit difference when a component is ablated, on "
        f"{escape(moment['task'].item())} at step {int(moment['step'])} (± standard error), and "
        "what the head does",
        text=["component"],
        numbers=[escape(str(ablation)) for ablation in moment["ablation"].values],
    )
    table.add_column("does (score)", no_wrap=True)
    for source in strongest:
        name = str(moment["source"].values[source])
        rows = zip(effect.values[:, source], error.values[:, source], strict=True)
        table.add_row(
            name,
            *(
                ""
                if np.isnan(value)
                else f"{value:+.2f}" + ("" if np.isnan(deviation) else f" ± {deviation:.2f}")
                for value, deviation in rows
            ),
            "\n".join(f"{done.behaviour.name} {done.score:.2f}" for done in does.get(name, ())),
        )
    return table
