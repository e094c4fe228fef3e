"""Claims as tables for the terminal, 80 characters wide unless names are long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import xarray as xr
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cntbench.comparison.claims import Judgement, in_file, over_files
from cntbench.dynamics.claim import Claim
from cntbench.dynamics.claims import ClaimTestResult

MARKS = {
    "supported": "[green]✓[/]",
    "not supported": "[red]✗[/]",
    "inconclusive": "[yellow]?[/]",
}


def claims_of(tree: xr.DataTree) -> RenderableType:
    """Return what a result file says of claims: all at a glance, and one task in detail.

    Nothing if the file holds no verdicts.
    """
    if "claims" not in tree.children:
        return Group()
    judgements = in_file(tree.children["claims"].to_dataset(inherit=True))
    tasks = [one.task for one in judgements]
    task = "induction" if "induction" in tasks else tasks[0]
    return Group(
        claim_matrix(judgements), _one_task([one for one in judgements if one.task == task])
    )


def claims_report(trees: Mapping[str, xr.DataTree], claims: Sequence[Claim]) -> RenderableType:
    """Return what result files say of claims, pooled if there are several.

    Parameters
    ----------
    trees
        By the name of their file.
    claims
        What was tested in all of them.
    """
    groups = [tree.children["claims"].to_dataset(inherit=True) for tree in trees.values()]
    if len(groups) > 1:
        judgements = over_files(groups, claims)
    else:
        judgements = in_file(groups[0], [claim.name for claim in claims])
    left_out = [
        line for path, tree in trees.items() for line in _gaps(path, tree.to_dataset(inherit=False))
    ]
    return Group(*left_out, claim_matrix(judgements), claim_tables(judgements))


def claim_matrix(judgements: Sequence[Judgement]) -> RenderableType:
    """Return the verdicts at a glance: a row for each task, a mark for each ablation."""
    names = list(dict.fromkeys(one.claim for one in judgements))
    ablations = list(dict.fromkeys(one.ablation for one in judgements))
    table = _table(
        "Claims: ✓ supported, ✗ not supported, ? inconclusive; by "
        + ", ".join(map(escape, ablations))
    )
    table.add_column("task", no_wrap=True)
    for name in names:
        table.add_column(escape(name.replace("_", "\n")), justify="center")
    marks = {(p.task, p.claim, p.ablation): MARKS[p.verdict.label] for p in judgements}
    for task in dict.fromkeys(one.task for one in judgements):
        cells = (
            " ".join(marks.get((task, name, ablation), " ") for ablation in ablations)
            for name in names
        )
        table.add_row(escape(task), *cells)
    return table


def claim_tables(judgements: Sequence[Judgement]) -> RenderableType:
    """Return a table for each claim: verdict, effect, interval, p-value and reason by cell."""
    parts: list[RenderableType] = []
    for claim in dict.fromkeys(one.claim for one in judgements):
        parts.append(_one_claim([one for one in judgements if one.claim == claim]))
    parts.append(
        Text(
            "Effect and 95 % interval of the statistic that decides, over its null model's mean; "
            "p-values are the largest of a claim's tests, corrected for the number of claims.",
            style="dim",
        )
    )
    return Group(*parts)


def _gaps(path: str, root: xr.Dataset) -> Iterator[Text]:
    """Say which checkpoints of a file took no part in its claims, and why."""
    left_out: dict[str, list[str]] = {}
    for index in range(root.sizes["checkpoint"]):
        bad = root["status"].values[:, :, index] != "ok"
        if bad.any():
            status = str(root["status"].values[:, :, index][bad][0])
            left_out.setdefault(status, []).append(str(root["checkpoint"].values[index]))
    for status, names in left_out.items():
        yield Text(f"{path}: left out, {status}: {_few(names)}", style="yellow")


def _few(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _one_task(rows: Sequence[Judgement]) -> RenderableType:
    rows = sorted(rows, key=lambda one: one.claim)
    table = _table(f"Claims on {escape(rows[0].task)}")
    table.add_column("claim", no_wrap=True)
    return _filled(table, rows, [one.claim for one in rows])


def _one_claim(rows: Sequence[Judgement]) -> RenderableType:
    first = rows[0]
    title = Text(f"{first.claim}: {first.summary}", style="bold")
    quoted = Text(f"“{first.text}” ({first.source})")
    table = _table("")
    table.add_column("task", overflow="fold")
    return Group(title, quoted, _filled(table, rows, [one.task for one in rows]))


def _filled(table: Table, rows: Sequence[Judgement], labels: Sequence[str]) -> RenderableType:
    """Return a table with a row for each judgement, and below it why they are what they are."""
    several = max(len(one.words) for one in rows) > 1
    table.add_column("ablation", overflow="fold")
    table.add_column("" if several else "verdict", no_wrap=True)
    table.add_column("effect, interval")
    if several:
        table.padding = (0, 0)
        table.add_column("files")
    table.add_column("p", justify="right", no_wrap=True, min_width=5)
    reasons: dict[str, list[str]] = {}
    last = ""
    for label, one in zip(labels, rows, strict=True):
        test = one.found[one.verdict.decisive]
        table.add_row(
            escape(label) if label != last else "",
            escape(one.ablation),
            MARKS[one.verdict.label] + ("" if several else f" {one.verdict.label}"),
            _effect(test),
            *([_spread(one)] if several else []),
            _p_value(one.verdict.corrected),
        )
        last = label
        if one.verdict.reason:
            statistic = "" if test.reason else f"{one.statistics[one.verdict.decisive]}: "
            reason = f"{statistic}{one.verdict.reason}"
            reasons.setdefault(reason, []).append(f"{label} {one.ablation}")
    return Group(table, *(Text(f"{why}: {_few(who)}") for why, who in reasons.items()), Text())


def _effect(test: ClaimTestResult) -> str:
    if np.isnan(test.effect):
        return ""
    bounds = f" [{_number(test.lower)}, {_number(test.upper)}]" if np.isfinite(test.lower) else ""
    return escape(f"{_number(test.effect)}{bounds}")


def _spread(one: Judgement) -> str:
    """Say in how many files the claim is supported, and how far effects are apart."""
    count = f"{one.words.count('supported')}/{len(one.words)}"
    if not one.effects:
        return count
    return f"{count} {_number(min(one.effects))}..{_number(max(one.effects))}"


def _p_value(value: float) -> str:
    if np.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:z.2f}".replace("-", "−")


def _table(title: str) -> Table:
    return Table(
        title=title,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
