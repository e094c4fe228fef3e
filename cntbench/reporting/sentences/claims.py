"""Which claims hold, in sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence

import xarray as xr

from cntbench.comparison.claims import Judgement, too_short
from cntbench.errors import listed
from cntbench.reporting.sentences import Answer, Line
from cntbench.reporting.wording import counted, number
from cntbench.views.missing import Missing

#: A paper, as sources of claims name it.
PAPER = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
#: The words for each verdict, about one claim and about several.
_VERBS = {
    "supported": ("is supported", "are supported"),
    "not supported": ("is not supported", "are not supported"),
    "inconclusive": ("is inconclusive", "are inconclusive"),
}


def which_claims(tree: xr.DataTree, judgements: Sequence[Judgement] | Missing, task: str) -> Answer:
    """Answer which claims of the paper hold on a task."""
    question, section = "Do the paper's claims hold here?", ("claims", "Claims")
    if isinstance(judgements, Missing):
        return Answer(
            question,
            section,
            "This result does not say: no claims were tested.",
            points=(f"To test them: {judgements.command}",),
        )
    of_claim = verdicts(judgements, task)
    names = list(dict.fromkeys(judgement.claim for judgement in judgements))
    sources = [match[0] for j in judgements if (match := PAPER.match(j.source))]
    return Answer(
        question,
        section,
        hold(of_claim, task),
        note=too_short(judgements),
        source=sources[0] if sources else "",
        lines=tuple(
            Line(
                f"{spaced(name).capitalize()}: {_by_ablation(labels)}",
                tuple(label for label in _VERBS if label in labels),
                f"claim-{1 + names.index(name)}",
            )
            for name, labels in of_claim.items()
        ),
        points=tuple(_point([j for j in judgements if j.claim == name], task) for name in of_claim),
        sentences=_over_lags(tree, task),
    )


def verdicts(judgements: Sequence[Judgement], task: str) -> dict[str, dict[str, list[str]]]:
    """Return, by claim and verdict, the ablations that give it on a task."""
    by_claim: dict[str, dict[str, list[str]]] = {}
    for judgement in judgements:
        if judgement.task == task:
            labels = by_claim.setdefault(judgement.claim, {})
            labels.setdefault(str(judgement.verdict.label), []).append(judgement.ablation)
    return by_claim


def hold(of_claim: dict[str, dict[str, list[str]]], task: str) -> str:
    """Return a sentence: which claims are supported, are not, and are undecided."""
    if not of_claim:
        return f"No claim was tested on {task}."
    count = {ablation for labels in of_claim.values() for by in labels.values() for ablation in by}
    every = f"with {next(iter(count))}" if len(count) == 1 else "with every ablation"
    unanimous: dict[str, list[str]] = {}
    differing = []
    for name, labels in of_claim.items():
        if len(labels) == 1:
            unanimous.setdefault(next(iter(labels)), []).append(spaced(name))
        else:
            differing.append(spaced(name))
    total = len(of_claim)
    if total > 1 and not differing and len(unanimous) == 1:
        label = next(iter(unanimous))
        return f"All {total} claims tested on {task} {_VERBS[label][1]} {every}."
    clauses = [
        f"{_which(label, names)} {_VERBS[label][len(names) > 1]}"
        for label in _VERBS
        if (names := unanimous.get(label))
    ]
    text = [f"{listed(clauses)} {every}"] if clauses else []
    if differing:
        text.append(f"the verdict on {listed(differing, 3)} depends on the ablation")
    return f"Of {counted(total, 'claim')} tested on {task}, {'; '.join(text)}."


def _which(label: str, names: Sequence[str]) -> str:
    """Name the claims that were decided, and count the others."""
    if label == "inconclusive" and len(names) > 1:
        return str(len(names))
    return listed(names, 3)


def spaced(name: str) -> str:
    """Return a claim's name in words."""
    return name.replace("_", " ")


def _by_ablation(labels: dict[str, list[str]]) -> str:
    if len(labels) == 1:
        return next(iter(labels))
    return ", ".join(f"{label} with {listed(by)}" for label, by in labels.items())


def _point(of_claim: Sequence[Judgement], task: str) -> str:
    """State a claim, its verdicts, and whether other tasks support it, too."""
    by_label = verdicts(of_claim, task)[of_claim[0].claim]
    labels = ", ".join(f"{label} with {listed(by)}" for label, by in by_label.items())
    elsewhere = [j.verdict.label == "supported" for j in of_claim if j.task != task]
    cases = f"{sum(elsewhere)} of {counted(len(elsewhere), 'case')}"
    controls = f"; supported in {cases} on the other tasks" if elsewhere else ""
    return f"{of_claim[0].summary.rstrip('.')}: {labels}{controls}."


def _over_lags(tree: xr.DataTree, task: str) -> tuple[str, ...]:
    """Say how the gap in stability depends on the lag, or nothing if the result does not."""
    if "phases" not in tree.children:
        return ()
    group = tree.children["phases"].to_dataset(inherit=True)
    gap = group["stability_gap"].sel(task=task)
    ends = [
        f"{number(known.values[0])} at {100 * known['lag'].values[0]:g} % of the film to "
        f"{number(known.values[-1])} at {100 * known['lag'].values[-1]:g} % ({ablation})"
        for ablation in gap["ablation"].values
        if (known := gap.sel(ablation=ablation).dropna("lag")).size > 1
    ]
    if not ends:
        return ()
    return (
        "How much more stable spreaders' order is than gatherers' depends on the lag, which is at "
        f"least one checkpoint: the gap in τ goes from {listed(ends)}.",
    )
