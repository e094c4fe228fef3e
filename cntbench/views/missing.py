"""What a picture is when the result has nothing to make it from."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: A run that is repeated in its folder measures nothing anew, and derives what is missing.
_RUN = "cntbench run"


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

    def in_file(self, name: str, history: str) -> Missing:
        """Return the same with the command as it is for a result.

        Parameters
        ----------
        name
            The result's file.
        history
            What it was made by; empty if that is not known.
        """
        if self.command == _RUN:
            return replace(self, command=history or _RUN)
        return replace(self, command=self.command.replace("RESULTS", name))


#: By group, what makes it.
_COMMANDS = {
    "metrics": _RUN,
    "nulls": _RUN,
    "roles": _RUN,
    "phases": "cntbench claims RESULTS",
    "claims": "cntbench claims RESULTS",
    "comparison": "cntbench compare -o FILE && cntbench report RESULTS --comparison FILE",
}


def missing(group: str) -> Missing:
    """Return that a group is missing from a result."""
    return Missing(f"The result has no group {group!r}.", _COMMANDS[group])
