"""Which ablation method to trust: what planted circuits and agreement say of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cntbench.report.page.answer import Answer
from cntbench.report.page.wording import few, listed, number
from cntbench.views.comparison import Agreement, Method, Methods
from cntbench.views.missing import Missing


def trust(task: str, agreed: Agreement, methods: Methods | Missing) -> Answer:
    """Return what is known of the result's ablations."""
    asked, section = "Which ablation method should I trust?", ("comparison", "Ablation methods")
    agreeing = _agreeing(agreed, task)
    if isinstance(methods, Missing):
        said = "This result does not say: how well methods find known edges was not measured."
        return Answer(asked, section, said, (f"To have it measured: {methods.command}", *agreeing))
    known = [one for one in methods.method if one.ablation in agreed.ablation]
    diagnosed = [one for one in known if one.passed or one.failed]
    if not diagnosed:
        said = "The comparison has no tests of the methods of this result."
        return Answer(asked, section, said, (*_recovered(known, methods), *agreeing))
    failures = "; ".join(f"{one.ablation}: {listed(one.failed) or 'none'}" for one in diagnosed)
    return Answer(
        asked,
        section,
        _fewest(diagnosed),
        (),
        (f"Failed are, by {failures}.", *_recovered(known, methods), *agreeing),
    )


def _fewest(diagnosed: Sequence[Method]) -> str:
    """Say which of the methods that were asked fail fewest circuits."""
    fewest = min(len(one.failed) for one in diagnosed)
    best = [one for one in diagnosed if len(one.failed) == fewest]
    asked = len(best[0].passed) + fewest
    verb = "fails" if len(best) == 1 else "fail"
    names = listed(one.ablation for one in best)
    what = f"{fewest} of {asked} circuits that are made to test methods"
    if len(diagnosed) == 1:
        return f"{names} {verb} {what}; no other method of this result was asked."
    if len(best) == len(diagnosed):
        return f"{names} {verb} equally many, {what}."
    return f"Of this result's methods, {names} {verb} fewest: {what}."


def _recovered(known: Sequence[Method], methods: Methods) -> list[str]:
    """Say how well methods recover planted edges, and which of all does so best."""
    said = []
    explained = " (AUROC in the realistic setting, 0.5 is chance)"
    for truth in ("direct", "total"):
        scores = {one.ablation: one.recovery.get(("realistic", truth)) for one in methods.method}
        found = {name: pair[0] for name, pair in scores.items() if pair and not np.isnan(pair[0])}
        words = listed(
            f"{number(found[one.ablation])} by {one.ablation}"
            for one in known
            if one.ablation in found
        )
        if not words:
            continue
        best = max(found.values())
        names = [name for name, value in found.items() if number(value) == number(best)]
        others = f"; best of all {len(found)} compared, with {number(best)}: {few(names)}"
        said.append(
            f"{truth.capitalize()} edges of planted circuits are told from others with {words}"
            f"{explained}{others if len(found) > len(known) else ''}."
        )
        explained = ""
    return said


def _agreeing(found: Agreement, task: str) -> list[str]:
    if len(found.ablation) < 2:
        return []
    at = found.task.index(task)
    pairs = [
        (found.mean[at, i, j], f"{found.ablation[i]} and {found.ablation[j]}")
        for i in range(len(found.ablation))
        for j in range(i)
        if not np.isnan(found.mean[at, i, j])
    ]
    if not pairs:
        return []
    pairs.sort(reverse=True)
    most, least = pairs[0], pairs[-1]
    if len(pairs) == 1:
        return [f"On {task} the orders of edges by {most[1]} agree with ρ = {number(most[0])}."]
    return [
        f"On {task} the order of edges agrees most between {most[1]} (ρ = {number(most[0])}), "
        f"least between {least[1]} ({number(least[0])})."
    ]
