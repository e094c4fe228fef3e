"""The verdict on methods on the terminal: ranks, absent methods with the reason, and decisions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import RenderableType
from rich.markup import escape

from cntbench.reporting.terminal import plain_table
from cntbench.views.verdict import Ranked, Ranking, verdict


def verdict_tables(dataset: xr.Dataset) -> Iterator[RenderableType]:
    """Yield the ranking for each purpose, the methods that did not take part, and the sentences."""
    view = verdict(dataset)
    if view is None:
        return
    table = plain_table(
        "Which method for which purpose: rank (= if shared), score and its 95 % interval over "
        f"{view.sample}; cost in forward passes, * if no other method is as good and as cheap. "
        "Ranks are by tests of pairs, with a false discovery rate of 5 %",
        text=["ablation"],
        numbers=[*(_heading(r) for r in view.ranking), "cost"],
    )
    for name, places, cost in view.rows:
        table.add_row(
            escape(name),
            *("" if ranked is None else _place(ranked) for ranked in places),
            "" if np.isnan(cost) else f"{cost:.2g}",
        )
    yield table
    yield from map(escape, view.absent)
    yield "[bold]Which method to use[/]"
    yield from (f" {escape(ranking.sentence)}" for ranking in view.ranking)


def _heading(ranking: Ranking) -> str:
    """Return the purpose on two lines, and what methods are ranked by."""
    lines = textwrap.wrap(ranking.title, 12)
    return "\n".join(escape(line) for line in [*lines, ranking.measure])


def _place(method: Ranked) -> str:
    rank = f"{method.rank}{'=' if method.shared else ' '}"
    mark = "*" if method.pareto else " "
    return f"{rank} {method.score:.2f}{mark}\n{method.low:.2f}–{method.high:.2f} "
