"""Training steps in the names of checkpoints: one rule for folders, revisions and files.

A step follows a known word (``step1000``, ``checkpoint-500-epoch-1``, ``global_step_8``,
``epoch=1-step=40``), or is the whole name. Other numbers in the name (losses, epochs, stages) are
ignored. An ambiguous name is refused, because a wrong guess would give a wrong time axis.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from cntbench.errors import CheckpointError

#: Largest step: results store steps as 64-bit integers.
LARGEST = 2**63 - 1

#: Hint of errors about names without a step.
EXPECTED = (
    "A step follows step, checkpoint, ckpt, iter, iteration or global_step (step1000, "
    "checkpoint-1000), or is the whole name (1000)."
)

#: Words that a step follows, and the separators between them.
_AFTER_WORD = re.compile(
    r"(?<![a-z])(?:global[-_]?step|steps?|checkpoint|ckpt|iteration|iter)[-_=]?(?P<digits>[0-9]+)",
    re.IGNORECASE,
)
_BARE_NUMBER = re.compile(r"(?P<digits>[0-9]+)")
#: What continues a number after its first digits: a fraction, an exponent, groups of three digits,
#: a unit (``step50K``).
_GOES_ON = re.compile(r"\.[0-9]|e[-+]?[0-9]|[_,][0-9]{3}(?![0-9])|[kmgbt](?![a-z])", re.IGNORECASE)
_TOKENS = re.compile(
    r"(?<![a-z])tokens?[-_=]?([0-9]+(?:\.[0-9]+)?)([kmbt]?)"
    r"(?![a-z0-9]|[.,][0-9]|_[0-9]{3}(?![0-9]))",  # more digits, or an unknown unit
    re.IGNORECASE,
)
_UNITS = {"": 0, "k": 3, "m": 6, "b": 9, "t": 12}


class NamedStep(NamedTuple):
    """The training step in a name, and the name split at the digits of its step.

    ``tokens_seen`` are training tokens up to the step, if the name states them (``tokens4B``).
    """

    step: int
    before: str
    digits: str
    after: str
    tokens_seen: int | None


def named_step(name: str, *, where: str) -> NamedStep | None:
    """Return the step in a name, or None if the name has no number.

    Raises a `CheckpointError` if the name has numbers but not exactly one unambiguous step.

    Examples
    --------
    >>> named_step("stage1-step1000-tokens5B", where="here")[:1]
    (1000,)
    """
    if bare := _BARE_NUMBER.fullmatch(name):
        return _named(name, bare, where)
    matches = list(_AFTER_WORD.finditer(name))
    if not matches:
        if re.search("[0-9]", name):
            raise CheckpointError(
                f"{name!r} has a number, but no word marks it as the step",
                where=where,
                hint=EXPECTED,
            )
        return None
    steps = {match["digits"].lstrip("0"): match for match in matches}
    if len(steps) > 1:
        words = " and ".join(repr(match[0]) for match in steps.values())
        raise CheckpointError(
            f"{name!r} has more than one step: {words}", where=where, hint=EXPECTED
        )
    match = matches[0]
    if more := _GOES_ON.match(name, match.end()):
        raise CheckpointError(
            f"the step in {name!r} is ambiguous: {match['digits']}, or {match['digits']}{more[0]}",
            where=where,
            hint=f"{EXPECTED} Write it in digits only.",
        )
    return _named(name, match, where)


def tells_step(name: str) -> bool:
    """Return whether a name is a number or has one after a known word, ambiguous or not."""
    return bool(_BARE_NUMBER.fullmatch(name) or _AFTER_WORD.search(name))


def step_number(digits: str, *, where: str) -> int:
    """Return the step of the digits, or raise a `CheckpointError` if it is above `LARGEST`."""
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
    counts = {
        int(Decimal(number).scaleb(_UNITS[unit.lower()]))
        for number, unit in _TOKENS.findall(name)
        if len(number) < 20
    }
    tokens = counts.pop() if len(counts) == 1 else None
    return None if tokens is None or tokens > LARGEST else tokens
