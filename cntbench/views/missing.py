"""What a picture is when the result has nothing to make it from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Missing:
    """Why a picture cannot be drawn, and what would change that.

    Parameters
    ----------
    what
        What is missing, in one sentence.
    command
        The command that makes it; ``RESULTS`` stands for the result file.
    """

    what: str
    command: str


#: By group, what makes it.
_COMMANDS = {
    "metrics": "cntbench run",
    "nulls": "cntbench run",
    "roles": "cntbench run",
    "phases": "cntbench claims RESULTS",
    "claims": "cntbench claims RESULTS",
    "comparison": "cntbench compare -o FILE && cntbench report RESULTS --comparison FILE",
}


def missing(group: str) -> Missing:
    """Return that a group is missing from a result.

    A run that is repeated in its folder measures nothing anew, and derives what is missing.
    """
    return Missing(f"The result has no group {group!r}.", _COMMANDS[group])
