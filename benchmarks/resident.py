"""Peak memory of a command and of all processes that it starts.

    python -m benchmarks.resident cntbench run --trajectory dir:checkpoints

Proportional set sizes, summed: pages that processes share are counted once.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.memory import parent, proportional


def peak(command: Sequence[str]) -> tuple[int, float]:
    """Run a command; return its exit code, and the most memory that was held at once [MiB]."""
    process = subprocess.Popen(command)
    highest = 0
    while process.poll() is None:
        highest = max(highest, sum(map(proportional, family(process.pid))))
        time.sleep(0.1)
    return process.returncode, highest / 1024


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
    code, mebibytes = peak(sys.argv[1:])
    print(f"peak memory {mebibytes:.0f} MiB")
    sys.exit(code)
