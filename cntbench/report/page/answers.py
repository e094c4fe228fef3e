"""What a reader asks first, answered in plain sentences by what the result holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from cntbench.comparison.claims import Judgement
from cntbench.report.learning import ends, learning
from cntbench.report.page.answer import Answer
from cntbench.report.page.trust import trust
from cntbench.report.page.wording import listed, number, with_error
from cntbench.results.film import usable
from cntbench.views.comparison import Agreement, Methods
from cntbench.views.effects import Effects, effects, over_one_edge
from cntbench.views.missing import Missing
from cntbench.views.phases import Phases, phases
from cntbench.views.readouts import Readouts, course, readouts, task_of_interest

#: Components that are named.
_NAMED = 4
#: Attention score from which a head is said to attend in a way.
_ATTENDS = 0.5


def answers(
    tree: xr.DataTree,
    judged: Sequence[Judgement] | Missing,
    agreed: Agreement,
    methods: Methods | Missing,
) -> tuple[Answer, ...]:
    """Return the answers to the four questions a reader has.

    Parameters
    ----------
    tree
        The result.
    judged
        Its verdicts, by `cntbench.views.claims`.
    agreed, methods
        Its ablations, by `cntbench.views.comparison`.
    """
    root = tree.to_dataset(inherit=False)
    task = task_of_interest(root)
    ablations = [str(name) for name in root["ablation"].values]
    counts = np.flatnonzero(usable(root))
    last = int(counts[-1]) if len(counts) else None
    return (
        _emergence(tree, task, ablations, last),
        _components(tree, task, ablations, last),
        _claims(judged, task),
        trust(task, agreed, methods),
    )


def _emergence(tree: xr.DataTree, task: str, ablations: Sequence[str], last: int | None) -> Answer:
    asked = f"When did {task} emerge?" if task == "induction" else f"When was {task} learnt?"
    section = "readouts", "Readouts"
    root = tree.to_dataset(inherit=False)
    went = course(root, task, "accuracy")
    if went is None or last is None:
        return Answer(asked, section, learning(root, task))
    points = _others(readouts(tree), task, last)
    if went.count > 1 and went.stands_out:
        points = [
            f"Over the whole training it went {ends(went)}.",
            *points,
            *_change_points(tree, task, ablations),
        ]
    return Answer(asked, section, learning(root, task), tuple(points))


def _others(found: Readouts, task: str, last: int) -> list[str]:
    accuracy = found.readout.index("accuracy")
    there = [
        (float(found.value[i, accuracy, last]), name)
        for i, name in enumerate(found.task)
        if name != task
    ]
    if not there:
        return []
    there.sort(reverse=True)
    words = listed(f"{number(value)} on {name}" for value, name in there)
    return [f"At that last step the other tasks, its controls, stand at {words}."]


def _change_points(tree: xr.DataTree, task: str, ablations: Sequence[str]) -> list[str]:
    views = [phases(tree, task, name) for name in ablations]
    known = [
        (name, one)
        for name, one in zip(ablations, views, strict=True)
        if isinstance(one, Phases) and not np.isnan(one.p_value)
    ]
    said = []
    without = [name for name, one in known if one.count == 1]
    if without:
        said.append(
            "No change points of the graphs' metrics stand out from mere drift by "
            f"{listed(without)}."
        )
    for name, one in known:
        if one.count > 1:
            steps = listed(
                f"{step:.0f} (95 % interval {low:.0f} to {high:.0f})"
                for step, low, high in zip(one.step, one.lower, one.upper, strict=True)
            )
            said.append(f"By {name} the graphs change at step {steps}.")
    return said


def _components(tree: xr.DataTree, task: str, ablations: Sequence[str], last: int | None) -> Answer:
    asked, section = "Which components carry it?", ("effects", "Effects of components")
    if last is None:
        return Answer(asked, section, "No checkpoint was measured.")
    found = [effects(tree, task, name) for name in ablations]
    size = np.abs(np.stack([np.nan_to_num(one.effect[last]) for one in found])).max(axis=0)
    order = [int(i) for i in np.argsort(-size, kind="stable")[:_NAMED] if size[i] > 0]
    if not order:
        said = f"The task {task} does not ask for effects on the logit difference."
        return Answer(asked, section, said)
    names = [found[0].component[number] for number in order]
    return Answer(
        asked,
        section,
        f"At step {found[0].step[last]}, ablating {names[0]} changes the logit difference on "
        f"{task} most{f'; next come {listed(names[1:])}' if names[1:] else ''}.",
        (
            "They stand in the order of their largest effect by any method.",
            *_direct(tree),
            *_elsewhere(tree, task, last, order),
        ),
        tuple(_component(found, ablations, last, number) for number in order),
    )


def _component(found: Sequence[Effects], ablations: Sequence[str], last: int, number: int) -> str:
    one = found[0]
    values = listed(
        f"{with_error(each.effect[last, number], each.error[last, number])} by {name}"
        for each, name in zip(found, ablations, strict=True)
    )
    return f"{one.component[number]}: {values}{_attention(one, last, number)}."


def _attention(one: Effects, last: int, at: int) -> str:
    """Say what a head attends to; nothing of MLPs."""
    previous, prefix = one.previous_token[last, at], one.prefix_matching[last, at]
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
    """Say which methods do not measure the whole effect."""
    names = over_one_edge(tree.to_dataset(inherit=False))
    said = f"By {listed(names)} it is the effect over the edge to the unembedding alone."
    return [said] if names else []


def _elsewhere(tree: xr.DataTree, task: str, last: int, order: Sequence[int]) -> list[str]:
    """Say how much the same components matter on the other tasks."""
    root = tree.to_dataset(inherit=False)
    rest = root["readout_effect"].sel(readout="logit_difference").isel(checkpoint=last)
    largest = abs(rest.isel(source=list(order))).max(["ablation", "source"])
    sizes = {
        str(name): float(value)
        for name, value in zip(largest["task"].values, largest.values, strict=True)
        if name != task and not np.isnan(value)
    }
    if not sizes:
        return []
    words = listed(
        f"{number(value)} on {name}"
        for name, value in sorted(sizes.items(), key=lambda item: -item[1])
    )
    return [f"On the other tasks, the largest change by any of them is {words}."]


def _claims(found: Sequence[Judgement] | Missing, task: str) -> Answer:
    asked, section = "Do the paper's claims hold here?", ("claims", "Claims")
    if isinstance(found, Missing):
        said = "This result does not say: no claims were tested."
        return Answer(asked, section, said, (f"To have them tested: {found.command}",))
    here = [one for one in found if one.task == task]
    others = [one for one in found if one.task != task]
    points, agreed = [], {"supported": 0, "not supported": 0, "inconclusive": 0}
    names = list(dict.fromkeys(one.claim for one in here))
    for name in names:
        mine = [one for one in here if one.claim == name]
        found_words = list(dict.fromkeys(one.verdict.label for one in mine))
        words = ", ".join(
            f"{word} by {listed(one.ablation for one in mine if one.verdict.label == word)}"
            for word in found_words
        )
        if len(found_words) == 1:
            agreed[found_words[0]] += 1
        points.append(f"{mine[0].summary.rstrip('.')}: {words}{_on_controls(others, name)}.")
    parts = [f"{count} {_is(count)} {word}" for word, count in agreed.items() if count]
    differing = len(names) - sum(agreed.values())
    said = f"{listed(parts)} by every method" if parts else ""
    if differing:
        said += f"{'; ' if parts else ''}the verdict on {differing} depends on the method"
    return Answer(
        asked,
        section,
        f"Of {len(names)} claims, tested on {task}, {said}.",
        (),
        tuple(points),
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _on_controls(others: Sequence[Judgement], claim: str) -> str:
    there = [one for one in others if one.claim == claim]
    if not there:
        return ""
    count = sum(one.verdict.label == "supported" for one in there)
    return f"; on the other tasks supported in {count} of {len(there)} cases"
