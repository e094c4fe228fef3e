"""Peak memory of a command and of all processes that it starts.

    python -m benchmarks.resident cntbench run --trajectory dir:checkpoints

In all: proportional set sizes, summed, so that pages that processes share are counted once. And the
largest resident set of one process, pages that it shares included.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.memory import parent, proportional, resident


class Peak(NamedTuple):
    """What a command took: its exit code, and memory in all and of its largest process [MiB]."""

    code: int
    total: float
    largest: float


def peak(command: Sequence[str]) -> Peak:
    """Run a command and watch its memory."""
    process = subprocess.Popen(command)
    total, largest = 0, 0
    while process.poll() is None:
        pids = family(process.pid)
        total = max(total, sum(map(proportional, pids)))
        largest = max(largest, *map(resident, pids))
        time.sleep(0.1)
    return Peak(process.returncode, total / 1024, largest / 1024)


def family(pid: int) -> set[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = parent(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = {pid}
    while True:
        more = {child for child, of in parents.items() if of in found} - found
        if not more:
            return found
        found |= more


if __name__ == "__main__":
    found = peak(sys.argv[1:])
    print(f"peak memory {found.total:.0f} MiB, largest process {found.largest:.0f} MiB")
    sys.exit(found.code)
