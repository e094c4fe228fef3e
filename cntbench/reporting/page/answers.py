"""Answers to a reader's first questions, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from cntbench.comparison.claims import Judgement, too_short
from cntbench.reporting.learning import ends, learning
from cntbench.reporting.wording import counted, listed, number, with_error
from cntbench.results.film import usable
from cntbench.views.comparison import Agreement, Method, Methods
from cntbench.views.effects import Effects, effects, over_one_edge
from cntbench.views.missing import Missing
from cntbench.views.phases import Phases, phases
from cntbench.views.readouts import course, readouts, task_of_interest

#: Number of components, and of methods, that are named.
_NAMED = 4
#: A head attends to a position if its attention score there is at least this.
_ATTENDS = 0.5


@dataclass(frozen=True)
class Answer:
    """A question and its answer.

    Parameters
    ----------
    question
        In a reader's words.
    section
        The id and the title of the section of the page that has the numbers.
    headline
        The answer in one sentence.
    points
        Details, as a list.
    sentences
        Remarks below the list.
    """

    question: str
    section: tuple[str, str]
    headline: str
    points: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()


def answers(
    tree: xr.DataTree,
    judgements: Sequence[Judgement] | Missing,
    agreement: Agreement,
    methods: Methods | Missing,
) -> tuple[Answer, ...]:
    """Return the answers to a reader's four questions.

    Parameters
    ----------
    tree
        The result.
    judgements
        Its verdicts, from `cntbench.views.claims`.
    agreement, methods
        Its ablations, from `cntbench.views.comparison`.
    """
    root = tree.to_dataset(inherit=False)
    task = task_of_interest(root)
    ablations = [str(name) for name in root["ablation"].values]
    counts = np.flatnonzero(usable(root))
    last = int(counts[-1]) if len(counts) else None
    return (
        _emergence(tree, task, ablations, last),
        _components(tree, task, ablations, last),
        _claims(tree, judgements, task),
        _trust(task, agreement, methods),
    )


def _ablations(names: Iterable[str]) -> str:
    """Return ``the ablation zero`` or ``the ablations zero and mean``."""
    names = list(names)
    return f"the ablation{'' if len(names) == 1 else 's'} {listed(names)}"


def _emergence(tree: xr.DataTree, task: str, ablations: Sequence[str], last: int | None) -> Answer:
    question = f"When did {task} emerge?" if task == "induction" else f"When was {task} learnt?"
    root = tree.to_dataset(inherit=False)
    accuracy = course(root, task, "accuracy")
    points: list[str] = []
    if accuracy is not None and last is not None:
        points = _other_tasks(tree, task, last)
        if accuracy.count > 1 and accuracy.stands_out:
            points = [
                f"Over the whole training, accuracy went {ends(accuracy)}.",
                *points,
                *_change_points(tree, task, ablations),
            ]
    return Answer(question, ("readouts", "Readouts"), learning(root, task), tuple(points))


def _other_tasks(tree: xr.DataTree, task: str, last: int) -> list[str]:
    view = readouts(tree)
    accuracy = view.value[:, view.readout.index("accuracy"), last]
    others = sorted(
        ((float(accuracy[i]), name) for i, name in enumerate(view.task) if name != task),
        reverse=True,
    )
    if not others:
        return []
    values = listed(f"{number(value)} on {name}" for value, name in others)
    return [f"At the last step, accuracy on the other tasks, the controls, is {values}."]


def _change_points(tree: xr.DataTree, task: str, ablations: Sequence[str]) -> list[str]:
    views = {name: phases(tree, task, name) for name in ablations}
    tested = {
        name: view
        for name, view in views.items()
        if isinstance(view, Phases) and not np.isnan(view.p_value)
    }
    points = []
    without = [name for name, view in tested.items() if view.count == 1]
    if without:
        points.append(
            f"With {_ablations(without)}, the graphs' metrics have no change points that drift "
            "alone would not explain."
        )
    for name, view in tested.items():
        if view.count > 1:
            steps = listed(
                f"{step:.0f} (95 % interval {low:.0f} to {high:.0f})"
                for step, low, high in zip(view.step, view.lower, view.upper, strict=True)
            )
            points.append(f"With {_ablations([name])}, the graphs change at step {steps}.")
    return points


def _components(tree: xr.DataTree, task: str, ablations: Sequence[str], last: int | None) -> Answer:
    question, section = "Which components carry it?", ("effects", "Effects of components")
    if last is None:
        return Answer(question, section, "No checkpoint was measured.")
    views = {name: effects(tree, task, name) for name in ablations}
    first = views[ablations[0]]
    size = np.nan_to_num(np.abs([view.effect[last] for view in views.values()])).max(axis=0)
    order = [int(i) for i in np.argsort(-size, kind="stable")[:_NAMED] if size[i] > 0]
    if not order:
        headline = f"Effects on the logit difference were not measured on {task}."
        return Answer(question, section, headline)
    foremost, *others = (first.component[i] for i in order)
    return Answer(
        question,
        section,
        f"At step {first.step[last]}, ablating {foremost} changes the logit difference on "
        f"{task} most{f', followed by {listed(others)}' if others else ''}.",
        tuple(_component(views, last, i) for i in order),
        (
            "Components are ordered by their largest effect under any ablation.",
            *_direct(tree),
            *_elsewhere(tree, task, last, order),
        ),
    )


def _component(views: dict[str, Effects], last: int, i: int) -> str:
    values = listed(
        f"{with_error(view.effect[last, i], view.error[last, i])} ({name})"
        for name, view in views.items()
    )
    view = next(iter(views.values()))
    return f"{view.component[i]}: {values}{_attention(view, last, i)}."


def _attention(view: Effects, last: int, i: int) -> str:
    """Say what a head attends to; empty for an MLP."""
    previous, prefix = view.previous_token[last, i], view.prefix_matching[last, i]
    if np.isnan(previous):
        return ""
    if previous >= _ATTENDS:
        return f"; it attends to the previous token ({number(previous)})"
    if prefix >= _ATTENDS:
        return f"; it attends to what followed the token's earlier occurrence ({number(prefix)})"
    return (
        f"; it attends neither to the previous token ({number(previous)}) nor to what followed "
        f"the token's earlier occurrence ({number(prefix)})"
    )


def _direct(tree: xr.DataTree) -> list[str]:
    """Say which ablations measure the direct effect only."""
    names = over_one_edge(tree.to_dataset(inherit=False))
    if not names:
        return []
    return [f"With {_ablations(names)}, the effect is that of the edge to the unembedding alone."]


def _elsewhere(tree: xr.DataTree, task: str, last: int, order: Sequence[int]) -> list[str]:
    """Say how much the same components matter on the other tasks."""
    root = tree.to_dataset(inherit=False)
    effect = root["readout_effect"].sel(readout="logit_difference").isel(checkpoint=last)
    largest = abs(effect.isel(source=list(order))).max(["ablation", "source"]).dropna("task")
    sizes = sorted(
        (-float(cell), str(cell["task"].item())) for cell in largest if cell["task"] != task
    )
    if not sizes:
        return []
    values = listed(f"{number(-size)} on {name}" for size, name in sizes)
    return [f"On the other tasks, the largest change from ablating any of them is {values}."]


def _claims(tree: xr.DataTree, judgements: Sequence[Judgement] | Missing, task: str) -> Answer:
    question, section = "Do the paper's claims hold here?", ("claims", "Claims")
    if isinstance(judgements, Missing):
        headline = "This result does not say: no claims were tested."
        return Answer(question, section, headline, (f"To test them: {judgements.command}",))
    points, unanimous = [], {"supported": 0, "not supported": 0, "inconclusive": 0}
    names = list(dict.fromkeys(j.claim for j in judgements if j.task == task))
    for name in names:
        of_claim = [j for j in judgements if j.claim == name]
        here = [j for j in of_claim if j.task == task]
        elsewhere = [j.verdict.label == "supported" for j in of_claim if j.task != task]
        ablations: dict[str, list[str]] = {}
        for judgement in here:
            ablations.setdefault(judgement.verdict.label, []).append(judgement.ablation)
        if len(ablations) == 1:
            unanimous[next(iter(ablations))] += 1
        verdicts = ", ".join(f"{label} with {listed(by)}" for label, by in ablations.items())
        cases = f"{sum(elsewhere)} of {counted(len(elsewhere), 'case')}"
        controls = f"; supported in {cases} on the other tasks" if elsewhere else ""
        points.append(f"{here[0].summary.rstrip('.')}: {verdicts}{controls}.")
    parts = [
        f"{count} {'is' if count == 1 else 'are'} {label}"
        for label, count in unanimous.items()
        if count
    ]
    clauses = [f"{listed(parts)} with every ablation"] if parts else []
    differing = len(names) - sum(unanimous.values())
    if differing:
        clauses.append(f"the verdict on {differing} depends on the ablation")
    headline = f"Of {counted(len(names), 'claim')} tested on {task}, {'; '.join(clauses)}."
    headline = f"{too_short(judgements)} {headline}".strip()
    return Answer(question, section, headline, tuple(points), _over_lags(tree, task))


def _over_lags(tree: xr.DataTree, task: str) -> tuple[str, ...]:
    """Say how the gap in stability depends on the lag, or nothing if the result does not."""
    if "phases" not in tree.children or "stability_gap" not in tree.children["phases"]:
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
        "How much more stable spreaders' order is than gatherers' depends on the lag: the gap in τ "
        f"goes from {listed(ends)}.",
    )


def _trust(task: str, agreement: Agreement, methods: Methods | Missing) -> Answer:
    """Say what planted circuits and the agreement of the ablations tell of them."""
    question, section = "Which ablation method should I trust?", ("comparison", "Ablation methods")
    agreeing = _agreeing(agreement, task)
    if isinstance(methods, Missing):
        headline = "This result does not say: the methods were not tested on known edges."
        return Answer(question, section, headline, (f"To test them: {methods.command}", *agreeing))
    known = [method for method in methods.method if method.ablation in agreement.ablation]
    diagnosed = [method for method in known if method.passed or method.failed]
    rankings = () if methods.verdict is None else methods.verdict.ranking
    decisions = [ranking.sentence for ranking in rankings]
    points = (*decisions, *_recovered(known, methods), *agreeing)
    if not diagnosed:
        headline = "The comparison has no tests of the methods of this result."
        return Answer(question, section, headline, points)
    failed = "; ".join(f"{m.ablation}: {listed(m.failed) or 'none'}" for m in diagnosed)
    return Answer(question, section, _fewest(diagnosed), (f"Failed circuits: {failed}.", *points))


def _fewest(diagnosed: Sequence[Method]) -> str:
    """Say which of the tested methods fail on the fewest circuits."""
    fewest = min(len(method.failed) for method in diagnosed)
    best = [method for method in diagnosed if len(method.failed) == fewest]
    names = listed(method.ablation for method in best)
    verb = "fails" if len(best) == 1 else "fail"
    tests = f"{fewest} of {counted(len(best[0].passed) + fewest, 'test circuit')}"
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
        if len(scores) > len(known):
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
