"""Ratios of several runs as a range, as one run says little about another machine or day.

python -m benchmarks.race W --runs 3 --record runs.jsonl
python -m benchmarks.runs runs.jsonl more-runs.jsonl     # the ranges of all of them
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """What one run of a race says of one contender.

    Parameters
    ----------
    workload, contender
        Their names.
    clock
        ``"wall-clock"`` or ``"processor"``: which time was compared.
    seconds
        The contender's time in this run [s].
    ratio
        It, divided by that of the first contender.
    processor, cores, load
        Name of the processor, number of cores, and the mean number of processes that wanted one of
        them over the minute before the end of the run, those of the race included.
    day
        As in 2026-11-29.
    """

    workload: str
    contender: str
    clock: str
    seconds: float
    ratio: float
    processor: str
    cores: int
    load: float
    day: str

    @classmethod
    def here(
        cls, workload: str, contender: str, *, clock: str, seconds: float, ratio: float
    ) -> Run:
        """Return a run that has just ended on this machine."""
        machine = processor(), os.cpu_count() or 1, os.getloadavg()[0]
        return cls(workload, contender, clock, seconds, ratio, *machine, time.strftime("%Y-%m-%d"))


def processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def record(runs: Iterable[Run], path: Path) -> None:
    """Add runs to a file, one a line."""
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(run)) + "\n" for run in runs)


def recorded(paths: Iterable[Path]) -> list[Run]:
    """Return the runs of files."""
    return [Run(**json.loads(line)) for path in paths for line in path.read_text().splitlines()]


def ranges(runs: Sequence[Run]) -> list[str]:
    """Return a line for each workload, contender and clock, and one for each machine and day."""
    lines = []
    for key in dict.fromkeys((run.workload, run.contender, run.clock) for run in runs):
        these = [run for run in runs if (run.workload, run.contender, run.clock) == key]
        least, most = (choose(run.ratio for run in these) for choose in (min, max))
        lines.append(
            f"{key[0]:16} {key[1]:21} {least:6.2f} to {most:6.2f} x in {len(these)} runs"
            f"  ({key[2]} time, {min(run.seconds for run in these):.3f} s and more)"
        )
    for where in dict.fromkeys((run.processor, run.cores, run.day) for run in runs):
        loads = [run.load for run in runs if (run.processor, run.cores, run.day) == where]
        lines.append(
            f"{where[0]}, {where[1]} cores, {where[2]}: load {min(loads):.1f} to {max(loads):.1f}"
        )
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    print("\n".join(ranges(recorded(parser.parse_args().files))))
