"""Training steps in the names of checkpoints: one rule for folders, revisions and files.

A step stands after a known word (``step1000``, ``checkpoint-500-epoch-1``, ``global_step_8``,
``epoch=1-step=40``), or the name is the number itself. Other numbers of such a name (losses,
epochs, stages) are not looked at. What is ambiguous is refused: a guess would be a wrong time axis.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from cntbench.errors import CheckpointError

#: Largest step: results keep them as integers of 64 bits.
LARGEST = 2**63 - 1

#: What an error says of names that tell no step.
EXPECTED = (
    "A step stands after step, checkpoint, ckpt, iter, iteration or global_step (step1000, "
    "checkpoint-1000), or is the whole name (1000)."
)

#: Words that a step stands after, with what may stand between.
_AFTER_WORD = re.compile(
    r"(?<![a-z])(?:global[-_]?step|steps?|checkpoint|ckpt|iteration|iter)[-_=]?(?P<digits>[0-9]+)",
    re.IGNORECASE,
)
_ALONE = re.compile(r"(?P<digits>[0-9]+)")
#: What makes a number more than its first digits: a fraction, an exponent, groups of three digits,
#: a unit (``step50K``).
_GOES_ON = re.compile(r"\.[0-9]|e[-+]?[0-9]|[_,][0-9]{3}(?![0-9])|[kmgbt](?![a-z])", re.IGNORECASE)
_TOKENS = re.compile(
    r"(?<![a-z])tokens?[-_=]?([0-9]+(?:\.[0-9]+)?)([kmbt]?)(?![a-z0-9])", re.IGNORECASE
)
_UNITS = {"": 0, "k": 3, "m": 6, "b": 9, "t": 12}


class NamedStep(NamedTuple):
    """The step that a name tells.

    Parameters
    ----------
    step
        Training step.
    before, digits, after
        The name, parted at the digits of its step.
    tokens_seen
        Training tokens up to the step, if the name tells them (``tokens4B``).
    """

    step: int
    before: str
    digits: str
    after: str
    tokens_seen: int | None


def named_step(name: str, *, where: str) -> NamedStep | None:
    """Return the step that a name tells, None if there is no number in it.

    Raises
    ------
    CheckpointError
        If a number is there and does not tell one step for sure; it says what was understood.

    Examples
    --------
    >>> named_step("stage1-step1000-tokens5B", where="here")[:1]
    (1000,)
    """
    if alone := _ALONE.fullmatch(name):
        return _named(name, alone, where)
    told = list(_AFTER_WORD.finditer(name))
    if not told:
        if re.search("[0-9]", name):
            raise CheckpointError(
                f"{name!r} has a number, and no word says that it is the step",
                where=where,
                hint=EXPECTED,
            )
        return None
    understood = {match["digits"].lstrip("0"): match for match in told}
    if len(understood) > 1:
        listed = " and ".join(repr(match[0]) for match in understood.values())
        raise CheckpointError(
            f"{name!r} tells more than one step: {listed}", where=where, hint=EXPECTED
        )
    match = told[0]
    if more := _GOES_ON.match(name, match.end()):
        raise CheckpointError(
            f"{name!r} does not tell a step for sure: {match['digits']}, or "
            f"{match['digits']}{more[0]}",
            where=where,
            hint=f"{EXPECTED} It is written in digits alone.",
        )
    return _named(name, match, where)


def tells_step(name: str) -> bool:
    """Whether a name is a number, or has one after a known word, whether or not it is for sure."""
    return bool(_ALONE.fullmatch(name) or _AFTER_WORD.search(name))


def step_number(digits: str, *, where: str) -> int:
    """Return the step that digits write.

    Raises
    ------
    CheckpointError
        If it is larger than results can keep.
    """
    significant = digits.lstrip("0") or "0"
    if len(significant) > len(str(LARGEST)) or int(significant) > LARGEST:
        shown = significant if len(significant) <= 24 else f"{significant[:20]}…"
        raise CheckpointError(
            f"step {shown} is too large", where=where, hint=f"Allowed: 0 to {LARGEST}."
        )
    return int(significant)


def _named(name: str, match: re.Match[str], where: str) -> NamedStep:
    start, stop = match.span("digits")
    return NamedStep(
        step_number(match["digits"], where=where),
        name[:start],
        match["digits"],
        name[stop:],
        _tokens_seen(name),
    )


def _tokens_seen(name: str) -> int | None:
    told = {
        int(Decimal(number).scaleb(_UNITS[unit.lower()]))
        for number, unit in _TOKENS.findall(name)
        if len(number) < 20
    }
    tokens = told.pop() if len(told) == 1 else None
    return None if tokens is None or tokens > LARGEST else tokens
