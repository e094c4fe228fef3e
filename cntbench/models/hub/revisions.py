"""The revisions of a repository that make a trajectory: names, ranges and schedules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import NamedTuple

from cntbench.errors import CheckpointError, nearest
from cntbench.models.stages import on_one_axis
from cntbench.models.steps import NamedStep, named_step, tells_step

#: Checkpoints of the Pythia models (Biderman et al. 2023): step 0, powers of two up to 512, then
#: every thousandth step.
PYTHIA = (0, *(2**power for power in range(10)), *range(1000, 143_001, 1000))
SCHEDULES = {"pythia": tuple(f"step{step}" for step in PYTHIA)}

EXPECTED = (
    "Write hub:ORG/NAME@step1000..step143000:1000, or names separated by commas (step0,step512), "
    f"a pattern (stage1-step*), or a schedule: {', '.join(SCHEDULES)}."
)
#: Largest number of revisions in a range; no published trajectory has as many.
MOST = 100_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Revision(NamedTuple):
    """A branch or tag, with the step and the tokens seen in its name."""

    name: str
    step: int
    tokens_seen: int | None = None


def named_steps(text: str, *, where: str, present: Iterable[str] = ()) -> dict[str, NamedStep]:
    """Return the steps in the names of the revisions that a text lists.

    Raises a `CheckpointError` if an item of the text is malformed, the step in a name is missing or
    ambiguous (see `cntbench.models.steps`), or a name is listed twice.

    Parameters
    ----------
    text
        Items separated by commas: a name (``step1000``, ``stage1-step1000-tokens4B``), a range with
        its stride (``step1000..step143000:1000``, including both ends), a pattern
        (``stage1-step*``), or a schedule (``pythia``).
    where
        The trajectory, for errors.
    present
        Names of the repository's branches and tags, for patterns.
    """
    if not text.strip():
        raise CheckpointError("needs revisions", where=where, hint=EXPECTED)
    steps: dict[str, NamedStep] = {}
    for item in text.split(","):
        for name in _names(item.strip(), where, present):
            if name in steps:
                raise _repeated(name, name, steps[name].step, where)
            steps[name] = _named_step(name, where)
    return steps


def in_order(
    steps: Mapping[str, NamedStep], *, where: str, present: Iterable[str] = ()
) -> tuple[Revision, ...]:
    """Return revisions in order of step.

    Steps of training in stages are counted through (see `cntbench.models.stages`), for which
    ``present``, the names of the repository's branches and tags, tell how its stages count. Raises
    a `CheckpointError` if two of a stage have the same step.
    """
    others = [named for name in present if (named := _step_in(name)) is not None]
    revisions: dict[int, Revision] = {}
    for name, named in on_one_axis(steps, where=where, others=others).items():
        if named.step in revisions:
            raise _repeated(name, revisions[named.step].name, named.step, where)
        revisions[named.step] = Revision(name, named.step, named.tokens_seen)
    return tuple(revisions.values())


def _repeated(name: str, other: str, step: int, where: str) -> CheckpointError:
    return CheckpointError(
        f"{name!r} and {other!r} both have step {step}",
        where=where,
        hint="Every step may appear once.",
    )


def step_of(name: str) -> int | None:
    """Return the step in a revision's name, or None if it is missing or ambiguous."""
    named = _step_in(name)
    return None if named is None else named.step


def _step_in(name: str) -> NamedStep | None:
    with suppress(CheckpointError):
        return _named_step(name, "")
    return None


def _names(item: str, where: str, present: Iterable[str]) -> Iterator[str]:
    if item in SCHEDULES:
        yield from SCHEDULES[item]
    elif "*" in item:
        names = [name for name in present if _matches(name, item, where)]
        if not names:
            raise CheckpointError(
                f"no revision with a step matches {item!r}", where=where, hint=EXPECTED
            )
        yield from names
    elif ".." in item:
        yield from _range(item, where)
    else:
        yield item


def _matches(name: str, pattern: str, where: str) -> bool:
    """Return whether a name matches and has a step; raises an error if that is ambiguous."""
    if not (fnmatchcase(name, pattern) and _NAME.fullmatch(name)):
        return False
    try:
        return named_step(name, where=where) is not None
    except CheckpointError as error:
        if not tells_step(name):
            return False
        hint = f"Write a pattern that does not match it; {pattern!r} does."
        raise CheckpointError(error.what, where=where, hint=hint) from None


def _range(item: str, where: str) -> Iterator[str]:
    first, _, rest = item.partition("..")
    last, colon, stride = rest.partition(":")
    start, stop = (_named_step(name, where) for name in (first, last))
    if (stop.before, stop.after) != (start.before, start.after):
        raise CheckpointError(
            f"{first!r} and {last!r} cannot be the ends of a range: not only their steps differ",
            where=where,
            hint=EXPECTED,
        )
    if not re.fullmatch(r"[1-9]\d{0,8}", stride):
        raise CheckpointError(
            f"stride {stride!r} is not allowed" if colon else f"range {item!r} has no stride",
            where=where,
            hint=f"Allowed: a whole number, 1 or more, as in {first}..{last}:1000.",
        )
    count = max(0, (stop.step - start.step) // int(stride) + 1)
    if not 1 <= count <= MOST:
        raise CheckpointError(
            f"range {item!r} has {count} steps", where=where, hint=f"Allowed: 1 to {MOST}."
        )
    steps = range(start.step, stop.step + 1, int(stride))
    if steps[-1] != stop.step:
        raise CheckpointError(
            f"range {item!r} does not reach {last!r}",
            where=where,
            hint=f"The last step before it is {steps[-1]}.",
        )
    width = len(start.digits) if start.digits.startswith("0") else 0
    yield from (f"{start.before}{step:0{width}d}{start.after}" for step in steps)


def _named_step(name: str, where: str) -> NamedStep:
    named = named_step(name, where=where) if _NAME.fullmatch(name) else None
    if named is None:
        raise CheckpointError(
            f"{name!r} is not a revision with a step" if name else "one of the revisions is empty",
            where=where,
            hint=f"{nearest(name, SCHEDULES).split('Allowed')[0]}{EXPECTED}",
        )
    return named
