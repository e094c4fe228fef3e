"""Peak memory of a command and of all processes that it starts.

    python -m benchmarks.resident cntbench run --trajectory dir:checkpoints

The total is the sum of proportional set sizes, so that shared pages count once. The largest process
is measured by its resident set, including shared pages.
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
    """A command's exit code, its total memory and that of its largest process [MiB]."""

    code: int
    total: float
    largest: float


def peak(command: Sequence[str]) -> Peak:
    """Run a command and measure its peak memory."""
    process = subprocess.Popen(command)
    total, largest = 0, 0
    while process.poll() is None:
        pids = family(process.pid)
        total = max(total, sum(map(proportional, pids)))
        largest = max(largest, *map(resident, pids))
        time.sleep(0.1)
    return Peak(process.returncode, total / 1024, largest / 1024)


def family(pid: int) -> set[int]:
    """Return a process and all of its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = parent(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    pids = {pid}
    while True:
        children = {child for child, owner in parents.items() if owner in pids} - pids
        if not children:
            return pids
        pids |= children


if __name__ == "__main__":
    usage = peak(sys.argv[1:])
    print(f"peak memory {usage.total:.0f} MiB, largest process {usage.largest:.0f} MiB")
    sys.exit(usage.code)
