"""Tables of the page: claims, agreement, and what a comparison knows of ablation methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cntbench.comparison.claims import Judgement
from cntbench.report.page.wording import interval, listed, number, p_value
from cntbench.views.comparison import Agreement, Methods

#: By verdict, sign and style.
MARKS = {
    "supported": ("✓", "supported"),
    "not supported": ("✗", "refuted"),
    "inconclusive": ("?", "open"),
}
#: Width of a drawn interval, and room at its ends, in pixels.
_BAR, _ROOM = 120.0, 6.0

Fields = dict[str, Any]


def claims_section(judgements: Sequence[Judgement], minima: dict[str, list[float]]) -> Fields:
    """Return the verdicts at a glance, and each claim in detail.

    Parameters
    ----------
    judgements
        Of a file.
    minima
        By claim, the smallest effect that counts, for each of its tests.
    """
    names = list(dict.fromkeys(one.claim for one in judgements))
    tasks = list(dict.fromkeys(one.task for one in judgements))
    return {
        "names": names,
        "matrix": [
            {
                "task": task,
                "cells": [
                    [_mark(one) for one in judgements if (one.task, one.claim) == (task, name)]
                    for name in names
                ],
            }
            for task in tasks
        ],
        "details": [
            _claim([one for one in judgements if one.claim == name], tasks, minima[name])
            for name in names
        ],
    }


def _mark(one: Judgement) -> Fields:
    sign, kind = MARKS[one.verdict.label]
    return {"sign": sign, "kind": kind, "title": f"{one.verdict.label} by {one.ablation}"}


def _claim(judgements: Sequence[Judgement], tasks: Sequence[str], minima: list[float]) -> Fields:
    first = judgements[0]
    ends = [
        bound
        for one in judgements
        for test in [one.found[one.verdict.decisive]]
        for bound in (test.effect, test.lower, test.upper, minima[one.verdict.decisive])
        if np.isfinite(bound)
    ]
    span = min([0.0, *ends]), max([0.0, *ends])
    return {
        "name": first.claim,
        "summary": first.summary,
        "text": first.text,
        "source": first.source,
        "tables": [
            {
                "task": number_of_task,
                "rows": [_row(one, minima, span) for one in judgements if one.task == task],
            }
            for number_of_task, task in enumerate(tasks)
        ],
    }


def _row(one: Judgement, minima: list[float], span: tuple[float, float]) -> Fields:
    test = one.found[one.verdict.decisive]
    sign, kind = MARKS[one.verdict.label]
    statistic = "" if test.reason else f"{one.statistics[one.verdict.decisive]}: "
    return {
        "ablation": one.ablation,
        "word": one.verdict.label,
        "sign": sign,
        "kind": kind,
        "effect": interval(test.effect, test.lower, test.upper),
        "bar": _bar(test.effect, test.lower, test.upper, minima[one.verdict.decisive], span),
        "p": p_value(one.verdict.corrected),
        "reason": f"{statistic}{one.verdict.reason}" if one.verdict.reason else "",
    }


def _bar(
    effect: float, low: float, high: float, least: float, span: tuple[float, float]
) -> Fields | None:
    """Return places in pixels; None if there is no interval to draw."""
    if not np.isfinite([effect, low, high, least]).all() or span[0] == span[1]:
        return None

    def place(value: float) -> float:
        share = (value - span[0]) / (span[1] - span[0])
        return round(_ROOM + share * (_BAR - 2 * _ROOM), 1)

    values = {"zero": 0.0, "least": least, "low": low, "high": high, "at": effect}
    return {name: place(value) for name, value in values.items()}


def agreement_section(found: Agreement) -> list[Fields]:
    """Return a table of all pairs for each task; none if there is one ablation only."""
    if len(found.ablation) < 2:
        return []
    return [
        {
            "task": task,
            "rows": [
                {
                    "name": name,
                    "cells": [
                        _pair(found, task, i, j) if i != j else _cell("·", None)
                        for j in range(len(found.ablation))
                    ],
                }
                for i, name in enumerate(found.ablation)
            ],
        }
        for task in range(len(found.task))
    ]


def _pair(found: Agreement, task: int, one: int, other: int) -> Fields:
    mean, low, high = (float(a[task, one, other]) for a in (found.mean, found.low, found.high))
    within = "" if np.isnan(low) else f"{number(low)} to {number(high)}"
    return _cell(number(mean), None if np.isnan(mean) else max(mean, 0.0), within)


def _cell(text: str, share: float | None, within: str = "") -> Fields:
    return {"text": text, "share": None if share is None else f"{share:.3f}", "range": within}


def methods_section(found: Methods, used: Sequence[str]) -> Fields:
    """Return recovery, diagnostics, reliability and cost.

    Parameters
    ----------
    found
        What a comparison knows.
    used
        Ablations of the result, which are highlighted.
    """
    columns = list(dict.fromkeys(key for one in found.method for key in one.recovery))
    diagnosed = [one for one in found.method if one.passed or one.failed]
    circuits = list(dict.fromkeys(c for one in diagnosed for c in (*one.passed, *one.failed)))
    return {
        "source": found.source,
        "yardstick": found.yardstick,
        "circuits": listed(found.circuits),
        "columns": [f"{difficulty}, {truth}" for difficulty, truth in columns],
        "recovery": [
            {
                "name": one.ablation,
                "used": one.ablation in used,
                "cells": [_recovered(one.recovery[key]) for key in columns],
            }
            for one in found.method
            if not np.isnan(list(one.recovery.values())).all()
        ],
        "left_out": found.left_out,
        "diagnosed": [one.ablation for one in diagnosed],
        "diagnostics": [
            {
                "name": circuit,
                "marks": [
                    _passed(circuit in one.passed, circuit in one.failed) for one in diagnosed
                ],
            }
            for circuit in sorted(circuits)
        ],
        "failures": _failures(found),
        "trained": [
            {
                "name": one.ablation,
                "used": one.ablation in used,
                "split": interval(*one.split_half),
                "draws": interval(*one.over_draws),
                "seconds": _times(one.relative_seconds),
                "work": _times(one.relative_token_layers),
            }
            for one in found.method
            if not np.isnan([one.split_half[0], one.relative_token_layers]).all()
        ],
    }


def _recovered(scores: tuple[float, float]) -> Fields:
    auroc, precision = scores
    share = 0.0 if np.isnan(auroc) else max(0.0, 2 * auroc - 1)
    return {"text": number(auroc), "second": number(precision), "share": f"{share:.3f}"}


def _passed(passed: bool, failed: bool) -> Fields:
    if not (passed or failed):
        return {"sign": "–", "kind": "", "title": "not asked"}
    word = "supported" if passed else "not supported"
    return {
        "sign": MARKS[word][0],
        "kind": MARKS[word][1],
        "title": "passed" if passed else "failed",
    }


def _failures(found: Methods) -> list[Fields]:
    """Return what is failed, by circuit and expectation, and by whom with which number."""
    who: dict[tuple[str, str], list[str]] = {}
    for one in found.diagnostic:
        who.setdefault((one.circuit, one.what), []).append(f"{one.ablation} {one.value:.2g}")
    return [
        {"circuit": circuit, "what": what, "who": ", ".join(names)}
        for (circuit, what), names in sorted(who.items())
    ]


def _times(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3g}×"
