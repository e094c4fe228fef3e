"""Checkpoints with problems: the table of an audit, and why some could not be measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from cntbench.errors import listed, printable
from cntbench.reporting.terminal import FoldingTable
from cntbench.reporting.wording import counted
from cntbench.results.failure import Failure
from cntbench.results.integrity import AUDITED, Audited

#: Number of characters of a revision that are shown.
_SHOWN = 12
#: How labels of untrained models begin.
UNTRAINED = "untrained model"
#: Number of checkpoints named in a line.
_NAMED = 8


def audit_table(rows: Sequence[Audited]) -> RenderableType:
    """Return a row for each checkpoint, and the number of checkpoints of each status."""
    table = FoldingTable()
    table.add_column("checkpoint", no_wrap=True)
    table.add_column("step", justify="right", no_wrap=True)
    table.add_column("revision", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for row in rows:
        table.add_row(
            escape(row.checkpoint),
            str(row.step),
            escape(row.revision[:_SHOWN]),
            escape(row.status),
            escape(row.reason),
            style="" if row.status == "ok" else "yellow",
        )
    counts = Counter(row.status for row in rows)
    statuses = ", ".join(f"{counts[status]} {status}" for status in AUDITED if counts[status])
    lines = [f"{counted(len(rows), 'checkpoint')}: {statuses}."]
    sampled = sum(row.sampled for row in rows)
    if sampled:
        lines.append(
            f"Of {counted(sampled, 'checkpoint')}, only headers and samples of the weights were "
            "read; their revisions are hashes of files. --whole downloads and reads all."
        )
    pickled = sum(row.hashes_only for row in rows)
    if pickled:
        lines.append(
            f"{counted(pickled, 'checkpoint')} of them in pytorch_model.bin, which has no header: "
            "only the hashes that the hub lists are known, not the lineage."
        )
    return Group(table, Text("\n".join(lines)))


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
