"""Which ablation method to use, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cntbench.errors import listed
from cntbench.reporting.sentences import Answer, Line
from cntbench.reporting.wording import counted, interval, number
from cntbench.views.comparison import Agreement, Method, Methods
from cntbench.views.missing import Missing
from cntbench.views.verdict import Ranking

#: Number of methods that are named.
_NAMED = 4


def which_method(task: str, agreement: Agreement, methods: Methods | Missing) -> Answer:
    """Answer which ablation method to use, as the comparison decides."""
    question, section = "Which ablation method should I trust?", ("comparison", "Ablation methods")
    agreeing = _agreeing(agreement, task)
    if isinstance(methods, Missing):
        headline = "This result does not say: the methods were not tested on known edges."
        points = (f"To test them: {methods.command}", *agreeing)
        return Answer(question, section, headline, points=points)
    known, diagnosed, ranked = _of_result(methods, agreement.ablation)
    return Answer(
        question,
        section,
        decision(ranked, diagnosed),
        lines=tuple(Line(_line(ranking)) for ranking in ranked),
        points=(
            *(ranking.sentence for ranking in ranked),
            *_failed(diagnosed),
            *_recovered(known, methods),
            *agreeing,
        ),
    )


def decided(methods: Methods, ablations: Sequence[str]) -> str:
    """Return `decision` for a result with some ablations."""
    _, diagnosed, ranked = _of_result(methods, ablations)
    return decision(ranked, diagnosed)


def _of_result(
    methods: Methods, ablations: Sequence[str]
) -> tuple[list[Method], list[Method], list[Ranking]]:
    """Return the result's methods, those of them with diagnostics, and rankings of any."""
    known = [method for method in methods.method if method.ablation in ablations]
    diagnosed = [method for method in known if method.passed or method.failed]
    rankings = () if methods.verdict is None else methods.verdict.ranking
    return known, diagnosed, [ranking for ranking in rankings if ranking.method]


def decision(rankings: Sequence[Ranking], diagnosed: Sequence[Method]) -> str:
    """Return a sentence: which method to use for which purpose, or which fails least often.

    Beside a score stands how many other methods tie. Rankings have at least one method each;
    special circuits have tested the diagnosed ones.
    """
    if not rankings:
        if not diagnosed:
            return "The comparison has no tests of the methods of this result."
        return _fewest(diagnosed)
    purposes: dict[str, list[str]] = {}
    for ranking in rankings:
        tied = len(ranking.tied) - 1
        others = f", tied with {counted(tied, 'other')}" if tied else ""
        purpose = f"{ranking.title} ({ranking.measure} {number(ranking.use.score)}{others})"
        purposes.setdefault(ranking.use.ablation, []).append(purpose)
    clauses = [f"{name} for {listed(titles)}" for name, titles in purposes.items()]
    return f"Use {listed(clauses)}."


def _line(ranking: Ranking) -> str:
    """Return the decision for one purpose in a few words."""
    tied = len(ranking.tied) - 1
    ties = f"; {counted(tied, 'tie')}" if tied else ""
    use = ranking.use
    score = f"{ranking.measure} {interval(use.score, use.low, use.high)}"
    return f"{ranking.title.capitalize()}: {use.ablation}, {score}{ties}"


def _failed(diagnosed: Sequence[Method]) -> list[str]:
    if not diagnosed:
        return []
    failed = "; ".join(f"{m.ablation}: {listed(m.failed) or 'none'}" for m in diagnosed)
    return [_fewest(diagnosed), f"Failed circuits: {failed}."]


def _fewest(diagnosed: Sequence[Method]) -> str:
    """Say which of the tested methods fail on the smallest share of the circuits that test them."""
    tested = {m.ablation: (len(m.failed), len(m.failed) + len(m.passed)) for m in diagnosed}
    fewest = min(failed / count for failed, count in tested.values())
    best = {name: test for name, test in tested.items() if test[0] / test[1] == fewest}
    names = listed(best)
    verb = "fails" if len(best) == 1 else "fail"
    each = {
        f"{failed} of {counted(count, 'test circuit')}": None for failed, count in best.values()
    }
    tests = " or ".join(each)  # tests are of one scope
    if len(diagnosed) == 1:
        return f"{names} {verb} on {tests}; no other method of this result was tested."
    if len(best) == len(diagnosed):
        return f"{names} {verb} equally often, on {tests}."
    return f"Of this result's methods, {names} {verb} least often, on {tests}."


def _recovered(known: Sequence[Method], methods: Methods) -> list[str]:
    """Say how well methods recover planted edges, and which of all does so best."""
    sentences = []
    explanation = " in the realistic setting (0.5 is chance)"
    for truth in ("direct", "total"):
        scores = {
            method.ablation: method.recovery[key][0]
            for method in methods.method
            if (key := ("realistic", truth)) in method.recovery
            and not np.isnan(method.recovery[key][0])
        }
        shown = [method.ablation for method in known if method.ablation in scores]
        if not shown:
            continue
        values = listed(f"{number(scores[name])} ({name})" for name in shown)
        sentence = f"AUROC of planted {truth} edges against other pairs: {values}{explanation}"
        if len(scores) > len(shown):
            best = number(max(scores.values()))
            names = [name for name, score in scores.items() if number(score) == best]
            sentence += f"; best of all {len(scores)} methods: {best} ({listed(names, _NAMED)})"
        sentences.append(f"{sentence}.")
        explanation = ""
    return sentences


def _agreeing(agreement: Agreement, task: str) -> list[str]:
    """Say which pairs of ablations order the edges most and least alike."""
    i = agreement.task.index(task)
    names = agreement.ablation
    pairs = sorted(
        (
            (agreement.mean[i, j, k], f"{names[j]} and {names[k]}")
            for j in range(len(names))
            for k in range(j)
            if not np.isnan(agreement.mean[i, j, k])
        ),
        reverse=True,
    )
    if not pairs:
        return []
    (most, closest), (least, farthest) = pairs[0], pairs[-1]
    if len(pairs) == 1:
        return [f"On {task}, the rank correlation of edges is ρ = {number(most)} ({closest})."]
    return [
        f"On {task}, the rank correlation of edges is highest for {closest} (ρ = {number(most)}) "
        f"and lowest for {farthest} (ρ = {number(least)})."
    ]
