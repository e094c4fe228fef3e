"""Training in stages: names such as ``stage2-ingredient1-step1000-tokens5B``, on one time axis.

If every stage counts its steps from 0 (OLMo 2), a checkpoint's training step counts on from the
last step of the stage before that is named beside it, and so do its tokens. If all steps of a stage
are above those of the stage before (SmolLM3), they count through all stages and stay as they are. A
stage may have several branches (``ingredient1``, ``ingredient2``), which are no sequence: one of
them is a trajectory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple, TypeVar

from cntbench.errors import CheckpointError, CntbenchNote, warn
from cntbench.models.steps import LARGEST, NamedStep

Key = TypeVar("Key")

_STAGE = re.compile(r"(?<![a-z])stage[-_=]?(?P<number>[0-9]{1,3})(?![0-9])", re.IGNORECASE)
#: What changes with the step: tokens, epochs, losses, tokens behind the step (``-2BT``).
_COUNTS = re.compile(
    r"(?<![a-z])(?:tokens?|epochs?|(?:[a-z]+_)?loss)[-_=]?[0-9.]+[kmbt]?"
    r"|^[-_][0-9.]+[kmbt]t?(?![a-z0-9])",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"(?:global[-_]?step|steps?|checkpoint|ckpt|iteration|iter)[-_=]*$", re.IGNORECASE
)
_CHOOSE = "Name the checkpoints of one of them; those of earlier stages may stand beside it."


class StagePlace(NamedTuple):
    """The stage in a name, and its branch: the name without stage, step, tokens, epoch, loss."""

    stage: int | None
    branch: str


def place_of(named: NamedStep) -> StagePlace:
    """Return the stage in a name and its branch.

    Examples
    --------
    >>> from cntbench.models.steps import named_step
    >>> place_of(named_step("stage2-ingredient3-step100-tokens5B", where="here"))
    StagePlace(stage=2, branch='ingredient3')
    """
    before, after = _WORD.sub("", named.before), _COUNTS.sub("", named.after)
    text = f"{_COUNTS.sub('', before)}-{after}"
    stages = {int(match["number"]): match for match in _STAGE.finditer(text)}
    if len(stages) != 1:
        return StagePlace(None, "")
    [(stage, match)] = stages.items()
    words = re.split("[-_=]+", f"{text[: match.start()]}-{text[match.end() :]}")
    return StagePlace(stage, "-".join(word for word in words if word))


def on_one_axis(
    steps: Mapping[Key, NamedStep], *, where: str, others: Iterable[NamedStep] = ()
) -> dict[Key, NamedStep]:
    """Return named steps in order, counted through all stages, and say so if there are several.

    Without stages in the names, or with a single one, steps stay as they are. ``others`` are steps
    of the same training that are not asked for: they too tell how its stages count. Raises a
    `CheckpointError` if a stage has several branches, or a name lacks the stage where others have
    different ones.
    """
    places = {key: place_of(named) for key, named in steps.items()}
    stages = sorted({place.stage for place in places.values() if place.stage is not None})
    if stages:
        _check(places, steps, where)
    if len(stages) > 1 and _count_through([*steps.values(), *others]):
        warn(
            f"{where}: steps stay as they are: a stage's are above those of the stage before.",
            CntbenchNote,
        )
        stages = []
    offset, on_axis = 0, dict[Key, NamedStep]()
    tokens: int | None = 0  # unknown from the first stage whose names do not give them
    for number, stage in enumerate(stages if len(stages) > 1 else [None]):
        members = {k: v for k, v in steps.items() if len(stages) < 2 or places[k].stage == stage}
        ordered = sorted(members.items(), key=lambda item: item[1].step)
        if number:
            warn(
                f"{where}: steps of stage {stage} count on from {offset}, the last step of stage "
                f"{stages[number - 1]} that is named.",
                CntbenchNote,
            )
        for key, named in ordered:
            if offset + named.step > LARGEST:
                raise CheckpointError(f"step {offset + named.step} is too large", where=where)
            on_axis[key] = named._replace(
                step=offset + named.step, tokens_seen=_sum(tokens, named.tokens_seen)
            )
        if ordered:
            last = ordered[-1][1]
            offset, tokens = offset + last.step, _sum(tokens, last.tokens_seen)
    return on_axis


def _count_through(steps: Iterable[NamedStep]) -> bool:
    """Return whether all steps of every stage are above those of the stage before."""
    of_stages: dict[int, list[int]] = {}
    for named in steps:
        stage = place_of(named).stage
        if stage is not None:
            of_stages.setdefault(stage, []).append(named.step)
    ordered = [of_stages[stage] for stage in sorted(of_stages)]
    return all(max(before) < min(after) for before, after in pairwise(ordered))


def _sum(before: int | None, tokens: int | None) -> int | None:
    return None if before is None or tokens is None else before + tokens


def _check(places: Mapping[Key, StagePlace], steps: Mapping[Key, NamedStep], where: str) -> None:
    """Raise a `CheckpointError` unless all names have a stage, and each stage one branch."""
    branches: dict[int, set[str]] = {}
    for key, place in places.items():
        if place.stage is None:
            named = steps[key]
            raise CheckpointError(
                f"{named.before}{named.digits}{named.after} has no stage, but other names have one",
                where=where,
                hint="Name the stage of each checkpoint, as in stage1-step1000, or leave it out.",
            )
        branches.setdefault(place.stage, set()).add(place.branch)
    for stage, names in branches.items():
        if len(names) > 1:
            raise CheckpointError(
                f"stage {stage} has several branches: {', '.join(sorted(map(repr, names)))}",
                where=where,
                hint=_CHOOSE,
            )
