"""Ablation methods side by side, as tables for the terminal, at most 100 characters wide."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

#: Columns of a table of all pairs.
_COLUMNS = 9


def comparison_tables(dataset: xr.Dataset) -> RenderableType:
    """Return the tables of a comparison, for whatever it holds: see `cntbench.compare.table`."""
    parts: list[RenderableType] = []
    if "auroc" in dataset:
        parts.append(_recovery(dataset))
    if "passed" in dataset:
        parts.append(_diagnostics(dataset))
    if "other_ablation" in dataset.dims:
        parts += _pairs(dataset)
    if "file" in dataset.dims:
        parts += _files(dataset)
    if "split_half" in dataset:
        parts.append(_trained(dataset))
    return Group(*parts)


def _recovery(dataset: xr.Dataset) -> Table:
    table = _table("Recovery of planted edges, mean over circuits: AUROC / average precision")
    table.add_column("ablation", no_wrap=True)
    columns = [
        {"difficulty": difficulty, "truth": truth}
        for difficulty in dataset["difficulty"].values
        for truth in dataset["truth"].values
    ]
    for at in columns:
        table.add_column(f"{at['difficulty']}\n{at['truth']}", justify="right", no_wrap=True)
    means = dataset[["auroc", "ap", "baseline_ap"]].mean("circuit", skipna=True)
    for name in dataset["ablation"].values:
        cells = (means.sel(**at, ablation=name) for at in columns)
        table.add_row(
            escape(str(name)), *(f"{_number(c['auroc'])} / {_number(c['ap'])}" for c in cells)
        )
    chance = (means.sel(at)["baseline_ap"].mean("ablation") for at in columns)
    table.add_row("random scores", *(f"0.50 / {_number(value)}" for value in chance), style="dim")
    return table


def _diagnostics(dataset: xr.Dataset) -> Table:
    table = _table("Diagnostics on special circuits: pass or fail, and the number behind it")
    table.add_column("ablation", no_wrap=True)
    for circuit in dataset["special"].values:
        table.add_column(escape(str(circuit)), justify="right", no_wrap=True)
    for name in dataset["ablation"].values:
        row = dataset.sel(ablation=name)
        table.add_row(escape(str(name)), *(_verdict(row.sel(special=c)) for c in row["special"]))
    return table


def _verdict(cell: xr.Dataset) -> str:
    passed, value = cell["passed"].item(), cell["value"].item()
    if np.isnan(passed):
        return ""
    return f"[green]pass[/] {value:.2g}" if passed else f"[red]fail[/] {value:.2g}"


def _pairs(dataset: xr.Dataset) -> Iterator[Table]:
    means = dataset["agreement_mean"].sel(statistic="edge_rank")
    names = [str(name) for name in dataset["ablation"].values]
    others = [str(name) for name in dataset["other_ablation"].values]
    for task in dataset["task"].values:
        values = means.sel(task=task).transpose("ablation", "other_ablation").values
        for start in range(0, len(others), _COLUMNS):
            shown = range(start, min(start + _COLUMNS, len(others)))
            table = _table(
                f"Rank correlation of edges between ablations on {escape(str(task))}, mean over "
                f"{dataset.sizes['checkpoint']} checkpoints"
            )
            table.add_column("ablation", no_wrap=True)
            for index in shown:
                table.add_column(str(index + 1), justify="right", no_wrap=True)
            for row, name in enumerate(names):
                cells = ("·" if others[i] == name else _number(values[row, i]) for i in shown)
                table.add_row(f"{row + 1:2} {escape(name)}", *cells)
            yield table


def _files(dataset: xr.Dataset) -> Iterator[Table]:
    for file in dataset["file"].values:
        table = _table(
            f"Agreement with {escape(str(file))}, mean over {dataset.sizes['checkpoint']} "
            "checkpoints\nand its 95 % interval"
        )
        table.add_column("task\nablation")
        for heading in ("edges\nρ", "edges\ntop", "spreaders\nρ", "gatherers\nρ"):
            table.add_column(heading, justify="right", no_wrap=True)
        for task in dataset["task"].values:
            for name in dataset["ablation"].values:
                at = dataset.sel(file=file, task=task, ablation=name)
                cells = (
                    _with_interval(at.sel(statistic=statistic), "agreement")
                    for statistic in ("edge_rank", "edge_top", "spreader_rank", "gatherer_rank")
                )
                table.add_row(escape(f"{task}\n{name}"), *cells)
        yield table


def _trained(dataset: xr.Dataset) -> Table:
    table = _table(
        "Agreement with the other ablations, reliability by halves of the prompts and by draws,\n"
        f"cost relative to {dataset.attrs['yardstick']}"
    )
    table.add_column("ablation", no_wrap=True)
    for heading in (
        "edges\nρ",
        "edges\ntop",
        "spread\nρ",
        "gather\nρ",
        "split\nhalf",
        "draws\nρ",
        "token-\nlayers",
        "time",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in dataset["ablation"].values:
        row = dataset.sel(ablation=name)
        consensus = row["consensus_mean"]
        table.add_row(
            escape(str(name)),
            _with_interval(row.sel(statistic="edge_rank"), "consensus"),
            *(
                _number(consensus.sel(statistic=statistic))
                for statistic in ("edge_top", "spreader_rank", "gatherer_rank")
            ),
            _number(row["split_half_mean"]),
            _number(row["over_draws_mean"]),
            *(_number(row[f"relative_{cost}"], "{:.3g}×") for cost in ("token_layers", "seconds")),
        )
    return table


def _with_interval(cell: xr.Dataset, name: str) -> str:
    mean, low, high = (cell[f"{name}_{end}"].item() for end in ("mean", "low", "high"))
    return _number(mean) if np.isnan(low) else f"{mean:.2f} {low:.2f}–{high:.2f}"


def _number(value: float | xr.DataArray, form: str = "{:.2f}") -> str:
    return "" if np.isnan(value) else form.format(float(value))


def _table(title: str) -> Table:
    return Table(
        title=title,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
