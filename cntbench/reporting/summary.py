"""The result of a study, as tables for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cntbench.reporting.sentences.emergence import learnt
from cntbench.reporting.terminal import plain_table
from cntbench.results.film import usable
from cntbench.views.readouts import task_of_interest

#: Number of rows in the tables of components.
_ROWS = 5


def summary(tree: xr.DataTree) -> RenderableType:
    """Return the tables: readouts, strongest sources and targets, heads and what they attend to."""
    dataset = tree.to_dataset(inherit=False)
    parts: list[RenderableType] = [*_gaps(dataset)]
    film = dataset.isel(checkpoint=usable(dataset))
    if not film.sizes["checkpoint"]:
        return Group(*parts)
    task = task_of_interest(film)
    if film["readout_value"].notnull().any():  # imported graphs have no readouts
        parts += [_readouts(film), Text(learnt(dataset, task))]
    parts += _prompts(film)
    parts.append(_strengths(film, task))
    last = film["readout_effect"].sel(task=task, readout="logit_difference").isel(checkpoint=-1)
    if last.notnull().any():
        parts.append(_effects(film, task))
    return Group(*parts)


def _prompts(film: xr.Dataset) -> Iterator[Text]:
    """Yield how many prompts were measured, if a study stops once errors are small."""
    if "prompts_measured" not in film:
        return
    counts = film["prompts_measured"].values
    limit = json.loads(film.attrs.get("study_spec", "{}")).get("until_se", 0)
    most = int(film.attrs.get("prompts", counts.max()))
    yield Text(
        f"Prompts until the standard errors of the strongest edges are below {limit:g}: "
        f"{counts.min():.0f} to {counts.max():.0f} of {most}, {np.median(counts):g} in the median; "
        f"all {most} in {(counts == most).sum()} of {counts.size} pairs of task and checkpoint."
    )


def _gaps(dataset: xr.Dataset) -> Iterator[Text]:
    for index in np.flatnonzero(~usable(dataset)):
        cells = dataset.isel(checkpoint=int(index))
        bad = cells["status"].values != "ok"
        yield Text(
            f"{cells['checkpoint'].item()}: {cells['status'].values[bad][0]}: "
            f"{cells['status_reason'].values[bad][0]}",
            style="yellow",
        )


#: Headings of the readouts that come first.
_READOUTS = {
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy",
    "logit_difference": "logit difference",
}


def _readouts(film: xr.Dataset) -> Table:
    count = film.sizes["checkpoint"]
    checkpoints = sorted({0, count // 2, count - 1})
    steps = ", ".join(str(film["step"].values[checkpoint]) for checkpoint in checkpoints)
    table = plain_table(
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


def _strengths(film: xr.Dataset, task: str) -> Table:
    last = film.isel(checkpoint=-1).sel(task=task)
    table = plain_table(
        f"Strongest sources and targets on {escape(task)} at step {int(last['step'])}: "
        "mean influence per feasible edge"
    )
    columns = []
    for ablation in film["ablation"].values:
        weights = last["influence"].sel(ablation=ablation)
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


def _effects(film: xr.Dataset, task: str) -> Table:
    last = film.isel(checkpoint=-1).sel(task=task)
    effect = last["readout_effect"].sel(readout="logit_difference")
    error = last["readout_effect_se"].sel(readout="logit_difference")
    strongest = np.argsort(-np.abs(effect.values).max(axis=0), kind="stable")[:_ROWS]
    table = plain_table(
        f"Change of the logit difference when a component is ablated, on {escape(task)} at step "
        f"{int(last['step'])} (± standard error), and what the component attends to"
    )
    table.add_column("component")
    for ablation in film["ablation"].values:
        table.add_column(escape(str(ablation)), justify="right", no_wrap=True)
    table.add_column("previous\ntoken", justify="right")
    table.add_column("prefix\nmatch", justify="right")
    for source in strongest:
        component = last.isel(source=int(source))
        table.add_row(
            str(component["source"].item()),
            *(
                f"{value:+.2f}" + ("" if np.isnan(deviation) else f" ± {deviation:.2f}")
                for value, deviation in zip(
                    effect.values[:, source], error.values[:, source], strict=True
                )
            ),
            *(
                "" if np.isnan(component[score]) else f"{component[score].item():.2f}"
                for score in ("previous_token", "prefix_matching")
            ),
        )
    return table
