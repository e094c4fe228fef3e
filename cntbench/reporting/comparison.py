"""A comparison of ablation methods, as tables for the terminal, at most 100 characters wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
import xarray as xr
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from cntbench.reporting.terminal import FoldingTable
from cntbench.reporting.wording import counted
from cntbench.views.comparison import Method, Methods, methods
from cntbench.views.missing import Missing
from cntbench.views.verdict import Ranked, Ranking, absences, verdict

#: Largest number of columns in a table of all pairs.
_COLUMNS = 9


def comparison_tables(dataset: xr.Dataset) -> RenderableType:
    """Return a table for each part of a comparison (`cntbench.comparison.table`) that it holds."""
    view = methods(xr.DataTree(), dataset)
    assert not isinstance(view, Missing)
    parts: list[RenderableType] = []
    if view.circuits:
        parts.append(_recovery(dataset, view))
    if "passed" in dataset:
        parts += [*_diagnostics(dataset, view), *_failures(view)]
    if "other_ablation" in dataset.dims:
        parts += _pairs(dataset)
    if "file" in dataset.dims:
        parts += _files(dataset)
    if "split_half" in dataset:
        parts += [_trained(dataset), *_stability(dataset)]
    if "auroc" in dataset or "passed" in dataset:
        parts += ["[bold]Methods one by one[/]", *map(_in_short, view.method)]
    return Group(*parts, *verdict_tables(dataset))


def _recovery(dataset: xr.Dataset, view: Methods) -> Table:
    """Return the scores of methods on the random circuits, which have no diagnostics."""
    columns = [
        {"difficulty": difficulty, "truth": truth}
        for difficulty in dataset["difficulty"].values
        for truth in dataset["truth"].values
    ]
    table = FoldingTable(
        "Recovery of planted edges, direct and total ones: AUROC / average precision, mean over "
        f"{', '.join(map(escape, view.circuits))}",
        text=["ablation"],
        numbers=[f"{column['difficulty']}\n{column['truth']}" for column in columns],
    )
    for method in view.method:
        scores = (method.recovery[str(c["difficulty"]), str(c["truth"])] for c in columns)
        table.add_row(
            escape(method.ablation), *(f"{_number(roc)} / {_number(ap)}" for roc, ap in scores)
        )
    if "baseline_ap" in dataset:
        baselines = dataset["baseline_ap"].sel(circuit=list(view.circuits)).mean("circuit")
        chance = (f"0.50 / {_number(baselines.sel(c).mean('ablation'))}" for c in columns)
        table.add_row("random scores", *chance, style="dim")
    return table


def _diagnostics(dataset: xr.Dataset, view: Methods) -> Iterator[RenderableType]:
    """Yield what each method passes and fails, which were not tested, and why."""
    table = FoldingTable(
        f"Diagnostics on {counted(dataset.sizes['special'], 'special circuit')}",
        text=["ablation"],
        numbers=["passed"],
    )
    table.add_column("fails")
    for method in view.method:
        if tested := len(method.passed) + len(method.failed):
            failed = ", ".join(f"[red]{escape(name)}[/]" for name in method.failed)
            table.add_row(escape(method.ablation), f"{len(method.passed)} of {tested}", failed)
    yield table
    yield from map(escape, absences("Not tested", view.undiagnosed))


def _failures(view: Methods) -> Iterator[str]:
    """Yield, for each expectation, the ablations that fail it, with their values."""
    for (circuit, expectation), values in view.failures.items():
        failed = escape(", ".join(values))
        yield f"[bold]{escape(circuit)}[/]: {escape(expectation)}\n    {failed}"
    yield ""


def _in_short(method: Method) -> str:
    """Return a line that sums up an ablation."""
    facts = []
    for difficulty in dict.fromkeys(difficulty for difficulty, _ in method.recovery):
        scores = {
            truth: auroc for (of, truth), (auroc, _) in method.recovery.items() if of == difficulty
        }
        if np.isfinite(list(scores.values())).any():
            words = ", ".join(f"{_number(auroc)} {truth}" for truth, auroc in scores.items())
            facts.append(f"{difficulty} AUROC {words}")
    if method.passed or method.failed:
        facts.append(f"fails {', '.join(method.failed) or 'no diagnostic'}")
    if np.isfinite(method.split_half[0]):
        facts.append(f"split half {_number(method.split_half[0])}")
    if np.isfinite(method.relative_seconds):
        facts.append(f"{method.relative_seconds:.2g}× the time of zero ablation")
    return f" {escape(method.ablation)}: {escape('; '.join(facts))}"


def _pairs(dataset: xr.Dataset) -> Iterator[Table]:
    means = dataset["agreement_mean"].sel(statistic="edge_rank")
    names = [str(name) for name in dataset["ablation"].values]
    others = [str(name) for name in dataset["other_ablation"].values]
    for task in dataset["task"].values:
        values = means.sel(task=task).transpose("ablation", "other_ablation").values
        for start in range(0, len(others), _COLUMNS):
            shown = range(start, min(start + _COLUMNS, len(others)))
            table = FoldingTable(
                f"Rank correlation of edges between ablations on {escape(str(task))}, mean over "
                f"{counted(dataset.sizes['checkpoint'], 'checkpoint')}",
                text=["ablation"],
                numbers=[str(index + 1) for index in shown],
            )
            for row, name in enumerate(names):
                cells = ("·" if others[i] == name else _number(values[row, i]) for i in shown)
                table.add_row(f"{row + 1:2} {escape(name)}", *cells)
            yield table


def _files(dataset: xr.Dataset) -> Iterator[Table]:
    for file in dataset["file"].values:
        table = FoldingTable(
            f"Agreement with {escape(str(file))}, mean over "
            f"{counted(dataset.sizes['checkpoint'], 'checkpoint')}\nand its 95 % interval"
        )
        table.add_column("task\nablation")
        for heading in ("edges\nρ", "edges\ntop", "spreaders\nρ", "gatherers\nρ"):
            table.add_column(heading, justify="right", no_wrap=True)
        for task in dataset["task"].values:
            for name in dataset["ablation"].values:
                cell = dataset.sel(file=file, task=task, ablation=name)
                cells = (
                    _with_interval(cell.sel(statistic=statistic), "agreement")
                    for statistic in ("edge_rank", "edge_top", "spreader_rank", "gatherer_rank")
                )
                table.add_row(escape(f"{task}\n{name}"), *cells)
        yield table


def _trained(dataset: xr.Dataset) -> Table:
    table = FoldingTable(
        "Agreement with the other ablations, reliability by halves of the prompts and by draws,\n"
        f"cost relative to {dataset.attrs['yardstick']}",
        text=["ablation"],
        numbers=[
            "edges\nρ",
            "spread\nρ",
            "gather\nρ",
            "split\nhalf",
            "draws\nρ",
            "token\nlayers",
            "time",
        ],
    )
    for name in dataset["ablation"].values:
        row = dataset.sel(ablation=name)
        consensus = row["consensus_mean"]
        table.add_row(
            escape(str(name)),
            _with_interval(row.sel(statistic="edge_rank"), "consensus"),
            *(
                _number(consensus.sel(statistic=statistic))
                for statistic in ("spreader_rank", "gatherer_rank")
            ),
            _number(row["split_half_mean"]),
            _number(row["over_draws_mean"]),
            *(_number(row[f"relative_{cost}"], "{:.2g}×") for cost in ("token_layers", "seconds")),
        )
    return table


def _stability(dataset: xr.Dataset) -> Iterator[Table]:
    """Yield how far circuits and scores vary over resamples of the prompts."""
    if "settled_at" not in dataset:
        return
    purposes = []
    if "score_prompts_low" in dataset:
        bounds = dataset["score_prompts_low"].notnull().any("ablation")
        purposes = [str(name) for name in dataset["purpose"].values[bounds.values]]
    table = FoldingTable(
        "Stability over resamples of the prompts: Jaccard index of the circuits (the top tenth of\n"
        "the edges) of two resamples, prompts from which on it is 0.8; where 95 % of scores lie",
        text=["ablation"],
        numbers=["circuit\nJaccard", "settles\nat", *(p.replace("_", "\n", 1) for p in purposes)],
    )
    most = int(dataset["prompts"].max())
    for name in dataset["ablation"].values:
        row = dataset.sel(ablation=name)
        settled, overlap = row["settled_at"].item(), row["circuit_overlap_mean"].item()
        ends = [
            [row[f"score_prompts_{end}"].sel(purpose=p).item() for end in ("low", "high")]
            for p in purposes
        ]
        table.add_row(
            escape(str(name)),
            _with_interval(row, "circuit_overlap"),
            _number(settled, "{:g}") or ("" if np.isnan(overlap) else f">{most}"),
            *("" if np.isnan(low) else f"{low:.2f}–{high:.2f}" for low, high in ends),
        )
    yield table


def _with_interval(cell: xr.Dataset, name: str) -> str:
    mean, low, high = (cell[f"{name}_{end}"].item() for end in ("mean", "low", "high"))
    if np.isnan(low):
        return _number(mean)
    return f"{mean:.2f} {low:.2f}–{high:.2f}".replace(" 0.", " .").replace("–0.", "–.")


def _number(value: float | xr.DataArray, form: str = "{:.2f}") -> str:
    return "" if np.isnan(value) else form.format(float(value))


def verdict_tables(dataset: xr.Dataset) -> Iterator[RenderableType]:
    """Yield the ranking for each purpose, the methods that did not take part, and the sentences."""
    view = verdict(dataset)
    if view is None:
        return
    table = FoldingTable(
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
    ends = "" if np.isnan(method.low) else f"\n{method.low:.2f}–{method.high:.2f} "
    return f"{rank} {method.score:.2f}{mark}{ends}"
