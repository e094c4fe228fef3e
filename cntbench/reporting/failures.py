"""Which checkpoints could not be measured, and why: one line for each reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from cntbench.errors import listed, printable
from cntbench.reporting.wording import counted
from cntbench.results.failure import Failure

#: How labels of untrained models begin.
UNTRAINED = "untrained model"
#: Number of checkpoints named in a line.
_NAMED = 8


def failures(failed: Mapping[str, Failure], remedy: str) -> str:
    """Return how many models failed, what to do, and a line for each reason with its models."""
    by_reason: dict[str, list[str]] = {}
    for name, failure in failed.items():
        by_reason.setdefault(f"{failure.status}: {failure.reason}", []).append(name)
    lines = [f"{_counted(failed)} could not be measured; {remedy}:"]
    lines += [f"  {listed(names, _NAMED)}: {reason}" for reason, names in by_reason.items()]
    return printable("\n".join(lines))


def _counted(names: Iterable[str]) -> str:
    """Return the number of models of each kind: ``1 checkpoint and 2 untrained models``."""
    counts = Counter(name.startswith(UNTRAINED) for name in names)
    kinds = ((counts[False], "checkpoint"), (counts[True], UNTRAINED))
    return " and ".join(counted(count, kind) for count, kind in kinds if count)
