"""Which revisions of a repository make a trajectory: names, ranges and schedules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from cntbench.errors import CheckpointError, nearest

#: Checkpoints of the Pythia models (Biderman et al. 2023): the first step and those that double up
#: to 512, then every thousandth.
PYTHIA = (0, *(2**power for power in range(10)), *range(1000, 143_001, 1000))
SCHEDULES = {"pythia": tuple(f"step{step}" for step in PYTHIA)}

EXPECTED = (
    "Write hub:ORG/NAME@step1000..step143000:1000, or names separated by commas (step0,step512), "
    f"or a schedule: {', '.join(SCHEDULES)}."
)
#: More than any published trajectory has.
MOST = 100_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: What stands before the step, the step, and what stands after it: after the word, or at the end.
_NUMBER = re.compile(
    r"(.*step[-_]?)(\d{1,12})(?!\d)(.*)"
    r"|(.*?)(?<!\d)(\d{1,12})()"
)


class Revision(NamedTuple):
    """A branch or tag, and the training step that its name tells."""

    name: str
    step: int


def parse(text: str, *, where: str) -> tuple[Revision, ...]:
    """Return the revisions that a text stands for, by rising step.

    Parameters
    ----------
    text
        Items separated by commas: a name (``step1000``, ``stage1-step1000-tokens4B``), a range with
        its stride (``step1000..step143000:1000``, both ends included), or a schedule (``pythia``).
    where
        The trajectory, for errors.

    Raises
    ------
    CheckpointError
        If an item is none of these, or two are of the same step.
    """
    if not text.strip():
        raise CheckpointError("needs revisions", where=where, hint=EXPECTED)
    found: dict[int, str] = {}
    for item in text.split(","):
        for name in _names(item.strip(), where):
            _, number, _ = _split(name, where)
            step = int(number)
            if step in found:
                raise CheckpointError(
                    f"{name!r} is of step {step}, and so is {found[step]!r}",
                    where=where,
                    hint="Every step may stand once.",
                )
            found[step] = name
    return tuple(Revision(name, step) for step, name in sorted(found.items()))


def step_of(name: str) -> int | None:
    """Return the step that a revision's name tells, None if it tells none."""
    parts = _parts(name)
    return int(parts[1]) if parts else None


def _names(item: str, where: str) -> Iterator[str]:
    if item in SCHEDULES:
        yield from SCHEDULES[item]
    elif ".." in item:
        yield from _range(item, where)
    else:
        yield item


def _range(item: str, where: str) -> Iterator[str]:
    first, _, rest = item.partition("..")
    last, colon, stride = rest.partition(":")
    before, start, after = _split(first, where)
    if _split(last, where)[::2] != (before, after):
        raise CheckpointError(
            f"{first!r} and {last!r} are no ends of a range: they differ in more than the step",
            where=where,
            hint=EXPECTED,
        )
    _, stop, _ = _split(last, where)
    if not re.fullmatch(r"[1-9]\d{0,8}", stride):
        raise CheckpointError(
            f"stride {stride!r} is not allowed" if colon else f"range {item!r} has no stride",
            where=where,
            hint=f"Allowed: a whole number from 1 on, as in {first}..{last}:1000.",
        )
    steps = range(int(start), int(stop) + 1, int(stride))
    if not steps or len(steps) > MOST:
        raise CheckpointError(
            f"range {item!r} has {len(steps)} steps", where=where, hint=f"Allowed: 1 to {MOST}."
        )
    if steps[-1] != int(stop):
        raise CheckpointError(
            f"range {item!r} never comes to {last!r}",
            where=where,
            hint=f"The last step before it is {steps[-1]}.",
        )
    width = len(start) if start.startswith("0") else 0
    yield from (f"{before}{step:0{width}d}{after}" for step in steps)


def _split(name: str, where: str) -> tuple[str, str, str]:
    parts = _parts(name)
    if parts is None:
        raise CheckpointError(
            f"{name!r} is no revision that tells its step"
            if name
            else "there is an empty name among the revisions",
            where=where,
            hint=f"{nearest(name, SCHEDULES).split('Allowed')[0]}{EXPECTED}",
        )
    return parts


def _parts(name: str) -> tuple[str, str, str] | None:
    """Return what stands before the step in a name, the step, and what stands after it."""
    found = _NUMBER.fullmatch(name)
    if not _NAME.fullmatch(name) or found is None:
        return None
    before, number, after = (part for part in found.groups() if part is not None)
    return before, number, after
