"""Scores of graphs on a known circuit, as a table for the terminal."""

from __future__ import annotations

import xarray as xr
from rich.console import RenderableType
from rich.markup import escape

from cntbench.reporting.terminal import plain_table
from cntbench.reporting.wording import number

#: Headings, by variable. A circuit is the graph's own.
_COLUMNS = {
    "auroc": "AUROC",
    "ap": "AP",
    "baseline_ap": "random\nAP",
    "precision_at_k": "precision\nat k",
    "circuit_precision": "circuit's\nprecision",
    "circuit_recall": "circuit's\nrecall",
}


def score_table(dataset: xr.Dataset) -> RenderableType:
    """Return a row for each graph and purpose (`cntbench.exchange.scores.scored`)."""
    table = plain_table(
        f"Scores on {escape(dataset.attrs['circuit'])}: AP is average precision, k the number of "
        f"true edges among {dataset.attrs['feasible_edges']} feasible ones",
        text=["purpose", "graph"],
        numbers=["k", *_COLUMNS.values()],
    )
    for purpose in dataset["purpose"].values:
        for graph in dataset["graph"].values:
            row = dataset.sel(purpose=purpose, graph=graph)
            numbers = (number(float(row[name])) for name in _COLUMNS)
            true = str(int(row["true_edges"]))
            table.add_row(str(purpose), escape(str(graph)), true, *numbers)
    return table
