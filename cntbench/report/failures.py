"""Which checkpoints could not be measured, and why, in as few lines as there are reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from cntbench.errors import printable
from cntbench.results.failure import Failure

#: How labels of untrained models begin.
UNTRAINED = "untrained model"
#: Checkpoints that are named in a line.
_NAMED = 8


def failures(failed: Mapping[str, Failure], remedy: str) -> str:
    """Return the text: how many, what to do, and a line for each reason with its checkpoints."""
    by_reason: dict[str, list[str]] = {}
    for name, failure in failed.items():
        by_reason.setdefault(f"{failure.status}: {failure.reason}", []).append(name)
    lines = [f"{_counted(failed)} could not be measured; {remedy}:"]
    lines += [f"  {_few(names)}: {reason}" for reason, names in by_reason.items()]
    return printable("\n".join(lines))


def _counted(names: Iterable[str]) -> str:
    """Return how many there are of each kind of model: ``1 checkpoint and 2 untrained models``."""
    counts = Counter(name.startswith(UNTRAINED) for name in names)
    kinds = [("checkpoint", counts[False]), (UNTRAINED, counts[True])]
    said = [f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in kinds if count]
    return " and ".join(said)


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
