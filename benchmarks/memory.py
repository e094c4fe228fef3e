"""Peak memory of a contender: fresh workers, forked from a server that has the engine's libraries.

    python -m benchmarks.memory W engine

The peak is the sum of the proportional set sizes of the workers and of the process that they were
forked from, so that shared pages count once. The allocator's thresholds are raised as in a race.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.contenders import ROOT, TUNED, contender

#: Modules that workers share; those of a run also share the modules for files and metrics.
PRELOADED = [
    "cntbench.engine.influence",
    "cntbench.models.checkpoint_files",
    "benchmarks.workloads",
    "cntbench.parallel._gc_freeze",
]


def peak(workload: str, name: str, *, workers: int = 2, threads: int = 1) -> float:
    """Return the peak memory in a separate process, summed over the workers [MiB]."""
    environment = os.environ | TUNED
    environment |= {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.memory", workload, name, "--workers", str(workers)]
    process = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(process.stdout)


def _once(name: str, workload: str, share: int, of: int) -> None:
    from benchmarks.workloads import weights  # not in the process that watches, which needs nothing

    run = contender(name, workload, share, of)
    weights.cache_clear()  # a run does not keep the tensors of its decoder
    run()


def _watch(workload: str, name: str, workers: int) -> float:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    crew = [
        context.Process(target=_once, args=(name, workload, share, workers))
        for share in range(workers)
    ]
    highest, waiting = 0, list(crew)
    for process in crew:
        process.start()
    server = {parent(process.pid) for process in crew} - {os.getpid()}
    while waiting:
        pids = [*server, *(process.pid for process in crew)]
        total = sum(proportional(pid) for pid in pids)
        alive = [process for process in waiting if process.is_alive()]
        if alive == waiting:  # else what the ended one shared may have counted twice
            highest = max(highest, total)
        waiting = alive
        time.sleep(0.005)
    failed = [process.exitcode for process in crew if process.exitcode]
    if failed:
        raise SystemExit(f"a worker ended with exit code {failed[0]}")
    return highest / 1024


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def proportional(pid: int) -> int:
    """Return the proportional set size of a process [KiB], 0 if it has ended."""
    return _counted(pid, "Pss:")


def resident(pid: int) -> int:
    """Return the resident set size of a process [KiB], 0 if it has ended."""
    return _counted(pid, "Rss:")


def _counted(pid: int, what: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(what)), 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload")
    parser.add_argument("contender")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(_watch(options.workload, options.contender, options.workers))
