"""Rates of verdicts on simulated films as tables for the terminal, or in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from cntbench.analysis.calibration.rates import POOLED, rate_interval
from cntbench.reporting.terminal import FoldingTable
from cntbench.reporting.wording import number

_NUMBERS = ("size", "length", "edges", "p", "✓", "✗")
_POOLED = (f"p of {POOLED}", f"✓ of {POOLED}")


def calibration_tables(dataset: xr.Dataset) -> RenderableType:
    """Return a table of every claim, false positives first, and the coverage of intervals."""
    films = int(dataset.attrs["films"])
    low, high = rate_interval(round(0.05 * films), films)
    parts: list[RenderableType] = []
    for claim in dict.fromkeys(map(str, dataset["claim"].values)):
        table = FoldingTable(escape(claim), text=["films", "true"], numbers=(*_NUMBERS, *_POOLED))
        for cells in rows(dataset, claim):
            table.add_row(*map(escape, cells))
        parts.append(table)
    covered = FoldingTable(
        "Coverage of 95 % intervals, by correlation of neighbours",
        numbers=["moments", *(f"{c:g}" for c in dataset["correlation"].values)],
    )
    for count, row in zip(dataset["moments"].values, dataset["coverage"].values, strict=True):
        covered.add_row(str(count), *(number(value, 3) for value in row))
    note = Text(
        f"Shares of {films} films each, by {dataset.attrs['draws']} draws: p-value at most the "
        "level before correction, ✓ supported, ✗ not supported; the others are inconclusive. A "
        f"share of 0.05 has a 95 % interval of {number(low)} to {number(high)}. "
        f"The last two columns are of {POOLED} films pooled, 100 random choices of these films. "
        "Size, length and edges are varied one at a time.",
        style="dim",
    )
    return Group(*parts, covered, note)


def rows(dataset: xr.Dataset, claim: str) -> Iterator[list[str]]:
    """Yield the cells of a claim's rows: films for which it is false come first."""
    films = int(dataset.attrs["films"])
    cases = np.flatnonzero(dataset["claim"].values.astype(str) == claim)
    order = {"false": 0, "true": 1, "": 2}
    for at in sorted(cases, key=lambda at: order[str(dataset["truth"].values[at])]):
        case = dataset.isel(case=at)
        size = float(case["size"])
        yield [
            str(case["kind"].item()),
            {"true": "yes", "false": "no", "": "?"}[str(case["truth"].item())],
            "" if np.isnan(size) else f"{size:g}",
            str(case["checkpoints"].item()),
            str(case["edges"].item()),
            *(number(int(case[n]) / films) for n in ("rejected", "supported", "not_supported")),
            *(number(float(case[f"pooled_{n}"])) for n in ("rejected", "supported")),
        ]
