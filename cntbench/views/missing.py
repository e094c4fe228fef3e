"""The stand-in for a picture that the result has no data for."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Running a study again in its folder measures nothing again and derives missing groups.
_RUN = "cntbench run"


@dataclass(frozen=True)
class Missing:
    """Why a picture cannot be drawn, and the command that helps.

    Parameters
    ----------
    what
        What is missing, in one sentence.
    command
        The command that adds it; ``RESULTS`` stands for the result file.
    """

    what: str
    command: str

    def in_file(self, name: str, history: str) -> Missing:
        """Return the same with the command for a result: its file, and what made it if known."""
        if self.command == _RUN:
            return replace(self, command=history or _RUN)
        return replace(self, command=self.command.replace("RESULTS", name))


#: The command that makes each group.
_COMMANDS = {
    "metrics": _RUN,
    "nulls": _RUN,
    "roles": _RUN,
    "phases": "cntbench claims RESULTS",
    "claims": "cntbench claims RESULTS",
    "comparison": "cntbench compare -o FILE && cntbench report RESULTS --comparison FILE",
}


def missing(group: str) -> Missing:
    """Return the stand-in for a picture whose group is missing."""
    return Missing(f"The result has no group {group!r}.", _COMMANDS[group])
