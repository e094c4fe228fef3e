"""The page's tables of claims, agreement and tests of ablation methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cntbench.comparison.claims import Judgement
from cntbench.errors import listed
from cntbench.reporting.page.circuits import finite
from cntbench.reporting.sentences.head import over_models
from cntbench.reporting.wording import interval, number, p_value
from cntbench.views.comparison import Agreement, Methods
from cntbench.views.verdict import Ranked, VerdictView, absences

#: Sign and CSS class of each verdict.
MARKS = {
    "supported": ("✓", "supported"),
    "not supported": ("✗", "refuted"),
    "inconclusive": ("?", "open"),
}
#: Width of a drawn interval, and the margin at its ends [pixels].
_BAR, _MARGIN = 120.0, 6.0

Fields = dict[str, Any]


def claims_section(judgements: Sequence[Judgement], minima: dict[str, list[float]]) -> Fields:
    """Return an overview of the verdicts of one file or over several, and each claim in detail.

    ``minima`` are, by claim, the smallest effects that count for each of its tests.
    """
    names = list(dict.fromkeys(judgement.claim for judgement in judgements))
    tasks = list(dict.fromkeys(judgement.task for judgement in judgements))
    return {
        "names": names,
        "films": max(len(judgement.file_verdicts) for judgement in judgements),
        "matrix": [
            {
                "task": task,
                "cells": [
                    [_mark(j) for j in judgements if (j.task, j.claim) == (task, name)]
                    for name in names
                ],
            }
            for task in tasks
        ],
        "details": [
            _claim([j for j in judgements if j.claim == name], tasks, minima[name])
            for name in names
        ],
    }


def _mark(judgement: Judgement) -> Fields:
    label = judgement.verdict.label
    sign, kind = MARKS[label]
    return {"sign": sign, "kind": kind, "title": f"{label} with {judgement.ablation}"}


def _claim(judgements: Sequence[Judgement], tasks: Sequence[str], minima: list[float]) -> Fields:
    first = judgements[0]
    bounds = [
        bound
        for judgement in judgements
        for decisive in [judgement.verdict.decisive]
        for test in [judgement.results[decisive]]
        for bound in (test.effect, test.lower, test.upper, minima[decisive])
        if np.isfinite(bound)
    ]
    span = min([0.0, *bounds]), max([0.0, *bounds])
    return {
        "name": first.claim,
        "summary": first.summary,
        "text": first.text,
        "source": first.source,
        "tables": [
            {"task": i, "rows": [_row(j, minima, span) for j in judgements if j.task == task]}
            for i, task in enumerate(tasks)
        ],
    }


def _row(judgement: Judgement, minima: list[float], span: tuple[float, float]) -> Fields:
    verdict, effects = judgement.verdict, judgement.effects
    test = judgement.results[verdict.decisive]
    sign, kind = MARKS[verdict.label]
    return {
        "ablation": judgement.ablation,
        "word": verdict.label,
        "sign": sign,
        "kind": kind,
        "effect": interval(test.effect, test.lower, test.upper),
        "bar": _bar(test.effect, test.lower, test.upper, minima[verdict.decisive], span),
        "p": p_value(verdict.corrected),
        "power": number(test.power),
        "films": _support(judgement),
        "effects": f"{number(min(effects))} to {number(max(effects))}" if len(effects) > 1 else "",
        "reason": judgement.why,
    }


def _support(judgement: Judgement) -> str:
    """Return how many films support a claim, and how many can answer it if not all can."""
    films, answers = len(judgement.file_verdicts), len(judgement.effects)
    share = f"{judgement.file_verdicts.count('supported')} of {films}"
    return share if answers == films else f"{share}, {answers} tested"


def _bar(
    effect: float, low: float, high: float, least: float, span: tuple[float, float]
) -> Fields | None:
    """Return positions [pixels]; None if there is no interval to draw."""
    if not np.isfinite([effect, low, high, least]).all() or span[0] == span[1]:
        return None

    def position(value: float) -> float:
        share = (value - span[0]) / (span[1] - span[0])
        return round(_MARGIN + share * (_BAR - 2 * _MARGIN), 1)

    values = {"zero": 0.0, "least": least, "low": low, "high": high, "at": effect}
    return {name: position(value) for name, value in values.items()}


def agreement_section(agreement: Agreement) -> list[Fields]:
    """Return a table of all pairs of ablations for each task; empty if there is one ablation."""
    if len(agreement.ablation) < 2:
        return []
    return [
        {
            "task": task,
            "rows": [
                {
                    "name": name,
                    "cells": [
                        _pair(agreement, task, i, j) if i != j else _cell("·", None)
                        for j in range(len(agreement.ablation))
                    ],
                }
                for i, name in enumerate(agreement.ablation)
            ],
        }
        for task in range(len(agreement.task))
    ]


def _pair(agreement: Agreement, task: int, i: int, j: int) -> Fields:
    arrays = (agreement.mean, agreement.low, agreement.high)
    mean, low, high = (float(array[task, i, j]) for array in arrays)
    within = "" if np.isnan(low) else f"{number(low)} to {number(high)}"
    return _cell(number(mean), None if np.isnan(mean) else max(mean, 0.0), within)


def _cell(text: str, share: float | None, within: str = "") -> Fields:
    return {"text": text, "share": None if share is None else f"{share:.3f}", "range": within}


def methods_section(methods: Methods, used: Sequence[str]) -> Fields:
    """Return the methods of each table; the ablations used in the result are highlighted."""
    diagnosed = [method for method in methods.method if method.passed or method.failed]
    return {
        "all": methods,
        "verdict": None if methods.verdict is None else verdict_section(methods.verdict, used),
        "columns": list(dict.fromkeys(key for method in methods.method for key in method.recovery)),
        "recovered": [
            method
            for method in methods.method
            if not np.isnan(list(method.recovery.values())).all()
        ],
        "diagnosed": diagnosed,
        "diagnostics": sorted({name for m in diagnosed for name in (*m.passed, *m.failed)}),
        "undiagnosed": absences("Not tested", methods.undiagnosed),
        "trained": [
            method
            for method in methods.method
            if not np.isnan([method.split_half[0], method.relative_token_layers]).all()
        ],
    }


def verdict_section(view: VerdictView, used: Sequence[str]) -> Fields:
    """Return the rankings: a row for each method, a column for each purpose.

    The ablations used in the result are highlighted.
    """
    return {
        "over": over_models(listed(view.circuits) + view.exceptions, view.models),
        "rankings": view.ranking,
        "rows": [
            {
                "name": name,
                "used": name in used,
                "cells": [ranked and _place(ranked) for ranked in places],
                "cost": "–" if np.isnan(cost) else f"{cost:.2g}",
            }
            for name, places, cost in view.rows
        ],
        "absent": view.absent,
    }


def cost_panels(view: VerdictView | None) -> list[Fields]:
    """Return the panels of score against cost, one for each purpose with counted costs."""
    return [
        {
            "title": ranking.title,
            "measure": ranking.measure,
            "method": [
                asdict(method)
                | dict(zip(("low", "high"), finite([method.low, method.high]), strict=True))
                for method in sorted(ranking.method, key=lambda m: (m.passes, -m.score))
                if np.isfinite([method.passes, method.score]).all()
            ],
        }
        for ranking in (view.ranking if view else ())
        if any(method.pareto for method in ranking.method)
    ]


def _place(method: Ranked) -> Fields:
    return {
        "rank": f"{method.rank}{'=' if method.shared else ''}",
        "score": interval(method.score, method.low, method.high),
        "share": above_chance(method.score),
        "best": method.pareto,
    }


def above_chance(score: float) -> str:
    """Return how much of a bar is filled: 0 for a score of 0.5 or none, 1 for 1."""
    return f"{0.0 if np.isnan(score) else min(max(0.0, 2 * score - 1), 1.0):.3f}"


def times(value: float) -> str:
    """Return a cost relative to another."""
    return "–" if np.isnan(value) else f"{value:.3g}×"
