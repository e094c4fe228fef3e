"""Claims as tables for the terminal, 80 characters wide unless names are long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cntbench.comparison.claims import (
    Judgement,
    check_independent,
    file_judgements,
    pooled_judgements,
    too_short,
)
from cntbench.dynamics.claim import Claim
from cntbench.errors import listed
from cntbench.reporting.terminal import FoldingTable
from cntbench.reporting.wording import interval, number
from cntbench.results.integrity import audit_results
from cntbench.views.readouts import task_of_interest

#: Number of names in a line of reasons.
_NAMED = 6
#: The claim whose effect depends on a lag.
_OF_LAGS = "gatherers_less_stable"
MARKS = {"supported": "[green]✓[/]", "not supported": "[red]✗[/]", "inconclusive": "[yellow]?[/]"}


def claims_of(tree: xr.DataTree, task: str | None = None) -> RenderableType:
    """Return the verdicts of a result file: an overview, and one task in detail.

    By default, the task is induction, or the first one.

    Empty if the file holds no verdicts.
    """
    if "claims" not in tree.children:
        return Group()
    judgements = file_judgements(tree.children["claims"].to_dataset(inherit=True))
    task = task or task_of_interest(tree.to_dataset(inherit=False))
    table = _task_table([j for j in judgements if j.task == task])
    return Group(*_short(judgements), claim_matrix(judgements), table, _films(1))


def claims_report(trees: Mapping[str, xr.DataTree], claims: Sequence[Claim]) -> RenderableType:
    """Return the verdicts of result files, pooled if there are several.

    Parameters
    ----------
    trees
        By the name of their file; all were tested for the claims.

    Raises
    ------
    CntbenchError
        If two results are of one training run.
    """
    check_independent(trees)
    groups = [tree.children["claims"].to_dataset(inherit=True) for tree in trees.values()]
    if len(groups) > 1:
        judgements = pooled_judgements(groups, claims)
    else:
        judgements = file_judgements(groups[0], [claim.name for claim in claims])
    left_out = [
        line for path, tree in trees.items() for line in _gaps(path, tree.to_dataset(inherit=False))
    ]
    tables = claim_tables(judgements)
    lags = [_lags(list(trees.values()))] if any(c.name == _OF_LAGS for c in claims) else []
    head = (*left_out, *_short(judgements), claim_matrix(judgements))
    return Group(*head, tables, *lags, _films(len(groups)))


def claim_matrix(judgements: Sequence[Judgement]) -> RenderableType:
    """Return an overview of the verdicts: a row for each claim, a mark for each ablation."""
    names = list(dict.fromkeys(judgement.claim for judgement in judgements))
    ablations = list(dict.fromkeys(judgement.ablation for judgement in judgements))
    tasks = list(dict.fromkeys(judgement.task for judgement in judgements))
    table = FoldingTable(
        "Claims: ✓ supported, ✗ not supported, ? inconclusive; "
        f"ablation{'s' if len(ablations) > 1 else ''}: " + ", ".join(map(escape, ablations)),
        text=["claim"],
    )
    for task in tasks:
        table.add_column(escape(task), justify="center", no_wrap=True)
    marks = {(j.task, j.claim, j.ablation): MARKS[j.verdict.label] for j in judgements}
    for name in names:
        cells = (
            " ".join(marks.get((task, name, ablation), " ") for ablation in ablations)
            for task in tasks
        )
        table.add_row(escape(name), *cells)
    return table


def claim_tables(judgements: Sequence[Judgement]) -> RenderableType:
    """Return a table for each claim: verdict, effect, interval, p-value and reason by cell."""
    claims = dict.fromkeys(judgement.claim for judgement in judgements)
    note = Text(
        "Effect and 95 % interval: the statistic that decides, minus its mean under the null "
        "model. p: the largest p-value of a claim's tests, corrected for the number of claims, "
        "not of tasks and ablations.",
        style="dim",
    )
    return Group(*(_claim_table([j for j in judgements if j.claim == c]) for c in claims), note)


def _films(count: int) -> Text:
    """Say what the verdicts are about, by the number of films."""
    if count == 1:
        text = (
            "These verdicts are about this one film. What training does in general is tested on "
            "several: cntbench run --seeds, or cntbench claims FILE FILE ..."
        )
    else:
        text = f"Pooled over {count} films, the unit of a claim about training."
    return Text(text, style="dim")


def _short(judgements: Sequence[Judgement]) -> list[Text]:
    """Return a headline if there are too few checkpoints for claims, or nothing."""
    text = too_short(judgements)
    return [Text(text, style="yellow")] if text else []


def _lags(trees: Sequence[xr.DataTree]) -> RenderableType:
    """Return a table of the gap in stability over lags, a mean over the results."""
    if not all("phases" in tree.children for tree in trees):
        return Group()
    gaps = [tree.children["phases"].to_dataset(inherit=True)["stability_gap"] for tree in trees]
    mean = xr.concat(gaps, "file", join="outer").mean("file")
    title = "Stability of spreaders' order minus gatherers' (τ among peers) at a lag of"
    shares = [f"{100 * lag:g} %" for lag in mean["lag"].values]
    table = FoldingTable(title, text=["task", "ablation"], numbers=shares)
    tasks, ablations = (
        dict.fromkeys(str(n) for gap in gaps for n in gap[dim].values)
        for dim in ("task", "ablation")
    )
    for task, ablation in product(tasks, ablations):
        row = mean.sel(task=task, ablation=ablation).values
        if not np.isnan(row).all():
            table.add_row(escape(task), escape(ablation), *map(number, row))
    note = Text("Lags are shares of the film, and at least one checkpoint.", style="dim")
    return Group(table, note)


def _gaps(path: str, root: xr.Dataset) -> Iterator[Text]:
    """Yield a line for each reason why checkpoints of a file take no part in its claims."""
    left_out: dict[str, list[str]] = {}
    for row in audit_results(root):
        if row.status != "ok":
            left_out.setdefault(row.status, []).append(row.checkpoint)
    for status, names in left_out.items():
        yield Text(f"{path}: left out, {status}: {listed(names, _NAMED)}", style="yellow")


def _task_table(judgements: Sequence[Judgement]) -> RenderableType:
    judgements = sorted(judgements, key=lambda judgement: judgement.claim)
    table = FoldingTable(f"Claims on {escape(judgements[0].task)}", text=["claim"])
    return _with_rows(table, judgements, [judgement.claim for judgement in judgements])


def _claim_table(judgements: Sequence[Judgement]) -> RenderableType:
    first = judgements[0]
    title = Text(f"{first.claim}: {first.summary}", style="bold")
    quotation = Text(f"{first.text} ({first.source})")
    table = FoldingTable()
    table.add_column("task", overflow="fold")
    rows = _with_rows(table, judgements, [judgement.task for judgement in judgements])
    return Group(title, quotation, rows)


def _with_rows(
    table: Table, judgements: Sequence[Judgement], labels: Sequence[str]
) -> RenderableType:
    """Return a table with a row for each judgement, and the reasons of the verdicts below it."""
    several = max(len(judgement.file_verdicts) for judgement in judgements) > 1
    table.add_column("ablation", overflow="fold")
    table.add_column("" if several else "verdict", no_wrap=True)
    table.add_column("effect, interval")
    if several:
        table.padding = (0, 0)
        table.add_column("files")
    table.add_column("p", justify="right", no_wrap=True, min_width=5)
    reasons: dict[str, dict[str, list[str]]] = {}
    previous = ""
    for label, judgement in zip(labels, judgements, strict=True):
        verdict = judgement.verdict
        test = judgement.results[verdict.decisive]
        table.add_row(
            escape(label) if label != previous else "",
            escape(judgement.ablation),
            MARKS[verdict.label] + ("" if several else f" {verdict.label}"),
            "" if np.isnan(test.effect) else escape(interval(test.effect, test.lower, test.upper)),
            *([_over_files(judgement)] if several else []),
            _p_value(verdict.corrected),
        )
        previous = label
        if verdict.reason:
            cells = reasons.setdefault(judgement.why, {})
            cells.setdefault(label, []).append(judgement.ablation)
    lines = []
    for why, cells in reasons.items():
        places = [f"{label} ({', '.join(ablations)})" for label, ablations in cells.items()]
        lines.append(Text(f"{listed(places, _NAMED)}: {why}"))
    return Group(table, *lines, Text())


def _over_files(judgement: Judgement) -> str:
    """Return the share of files that support the claim, and the range of the effects."""
    share = f"{judgement.file_verdicts.count('supported')}/{len(judgement.file_verdicts)}"
    if len(judgement.effects) < 2:
        return share
    return f"{share} {number(min(judgement.effects))}..{number(max(judgement.effects))}"


def _p_value(value: float) -> str:
    if np.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
