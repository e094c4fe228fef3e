"""Circuits as tables for the terminal: their faithfulness, and scores on a known circuit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from cntbench.reporting.terminal import FoldingTable
from cntbench.reporting.wording import counted, number

#: Headings of scores on a known circuit, by variable. A circuit is the graph's own.
_SCORES = {
    "auroc": "AUROC",
    "ap": "AP",
    "baseline_ap": "random\nAP",
    "precision_at_k": "precision\nat k",
    "circuit_precision": "circuit's\nprecision",
    "circuit_recall": "circuit's\nrecall",
}


def circuit_tables(dataset: xr.Dataset) -> RenderableType:
    """Return the tables of `cntbench.comparison.circuits.command`, task by task."""
    parts: list[RenderableType] = []
    for name in dataset["task"].values:
        task = dataset.sel(task=name)
        if np.isfinite(task["cpr"]).any():
            parts.append(_areas(task))
        parts.append(_curve(task, "faithfulness", "Share of the readout that circuits recover"))
        parts.append(_curve(task, "complement_faithfulness", "What their complements recover"))
        parts += [*_disconnected(task), _about(task)]
    return Group(*parts)


def _rows(task: xr.Dataset) -> Iterator[tuple[list[str], xr.Dataset]]:
    """Yield the first cells of a row, and what it is about; rankings that agree are one row."""
    for ablation in task["ablation"].values:
        method = task.sel(ablation=ablation)
        rankings = [str(name) for name in method["ranking"].values]
        same = len(rankings) == 2 and method["faithfulness"].equals(
            method["faithfulness"].isel(ranking=[1, 0]).assign_coords(ranking=rankings)
        )
        for ranking in rankings[:1] if same else rankings:
            label = "either" if same else ranking
            yield [escape(str(ablation)), label], method.sel(ranking=ranking)


def _areas(task: xr.Dataset) -> Table:
    table = FoldingTable(
        f"Circuits on {escape(str(task['task'].item()))}: areas over budgets, with 95 % intervals "
        "over prompts",
        text=["ablation", "ranked by"],
        numbers=["CPR", "random", "CMD", "random"],
    )
    for cells, row in _rows(task):
        areas = [(_interval(row, name), _random(row[f"random_{name}"])) for name in ("cpr", "cmd")]
        table.add_row(*cells, *(cell for pair in areas for cell in pair))
    return table


def _curve(task: xr.Dataset, name: str, title: str) -> Table:
    """Return a table over the budgets that hold an edge."""
    held = (task["budget"] * task["scored_edges"].max() + 1e-9 >= 1).values
    task = task.isel(budget=held if held.any() else slice(None))
    shares = task["budget"].values
    table = FoldingTable(
        f"{title}, by share of the scored edges",
        text=["ablation", "ranked by"],
        numbers=["circuit" if np.isnan(share) else f"{100 * share:.3g} %" for share in shares],
    )
    for cells, row in _rows(task):
        table.add_row(*cells, *map(number, row[name].values))
    return table


def _disconnected(task: xr.Dataset) -> Iterator[str]:
    """Yield a line on methods most of whose best edges join to no path to the readout."""
    last = task.isel(budget=-1)
    chosen = last["budget"] * last["scored_edges"]
    few = (last["circuit_edges"] < chosen / 2).any("ranking").values
    names = [escape(str(name)) for name in task["ablation"].values[few]]
    if names:
        yield (
            f"Of {', '.join(names)} most of the best edges lie on no path to the readout. "
            "--select greedy walks from the readout.\n"
        )


def _about(task: xr.Dataset) -> str:
    attributes = task.attrs
    edges = sorted({int(count) for count in np.ravel(task["scored_edges"].values)})
    readout = escape(str(task["observed_readout"].item()))
    patch = str(task["patch"].item() if "patch" in task else attributes["patched_by"])
    clean, empty = (
        " or ".join(dict.fromkeys(f"{value:.3g}" for value in np.unique(task[name])))
        for name in ("clean_readout", "empty_readout")
    )
    draws = counted(task.sizes["draw"], "random circuit")
    return (
        f"{escape(str(attributes['source']))}, {escape(str(attributes['checkpoint']))}; {readout} "
        f"{clean} of the model, {empty} with no edge. "
        f"{' or '.join(map(str, edges))} edges are scored, any others are in every circuit. "
        f"Patched by {escape(patch)}. "
        f"Selection: {escape(str(attributes['selection']))}. Each circuit has {draws} of the same "
        "size and layers.\n"
    )


def _interval(row: xr.Dataset, name: str) -> str:
    value, low, high = (row[f"{name}{end}"].item() for end in ("", "_lower", "_upper"))
    return f"{number(value)} [dim]\\[{number(low)}, {number(high)}][/]"


def _random(values: xr.DataArray) -> str:
    return f"[dim]{number(values.mean().item() if values.size else np.nan)}[/]"


def score_table(dataset: xr.Dataset) -> RenderableType:
    """Return a row for each graph and purpose (`cntbench.exchange.scores.scored`)."""
    table = FoldingTable(
        f"Scores on {escape(dataset.attrs['circuit'])}: AP is average precision, k the number of "
        f"true edges among {dataset.attrs['feasible_edges']} feasible ones",
        text=["purpose", "graph"],
        numbers=["k", *_SCORES.values()],
    )
    for purpose in dataset["purpose"].values:
        for graph in dataset["graph"].values:
            row = dataset.sel(purpose=purpose, graph=graph)
            numbers = (number(float(row[name])) for name in _SCORES)
            true = str(int(row["true_edges"]))
            table.add_row(str(purpose), escape(str(graph)), true, *numbers)
    return table
