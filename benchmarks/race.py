"""A race between contenders, which take turns on the same processors in one run.

    python -m benchmarks.race W W-cross-entropy nano 160M --rounds 5

Each worker is a process with one thread, which gets the prompts of one core. The allocator's
thresholds are raised, because page faults would otherwise double the time of the contender that
allocates most. Contenders take turns in every round, so that disturbances affect all of them; the
time of a round is that of its slowest worker. All contenders of a worker share the same weights. A
contender whose name ends in *fused* runs its linear layers by the engine's operator, so that the
difference is due to the sweep alone. Peers (`benchmarks.peers`) take part if they are installed and
named:

    python -m benchmarks.race W --contenders "engine,transformer-lens,nnsight,plain"

Ratios are told as a range over the races of ``--runs 3``, with processor and load;
`benchmarks.runs` joins runs of several days and machines.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import CONTENDERS, ROOT, TUNED, contender
from benchmarks.memory import peak
from benchmarks.runs import Run, ranges, record


@dataclass
class Worker:
    """A process that computes one core's share of a workload on demand."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, share: int, of: int, threads: int) -> Worker:
        environment = os.environ | TUNED
        environment |= {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "benchmarks.race", "--worker", f"{share}/{of}"]
        return cls(
            subprocess.Popen(
                command,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
        )

    def tell(self, workload: str, contender: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([workload, contender]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> float:
        assert self.process.stdout is not None
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def race(
    workload: str, contenders: Sequence[str], *, rounds: int, workers: int = 2, threads: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of each contender in each round."""
    crew = [Worker.start(share, workers, threads) for share in range(workers)]
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    try:
        for turn in range(rounds + 1):
            for contender in contenders:
                start = time.perf_counter()
                for worker in crew:
                    worker.tell(workload, contender)
                for worker in crew:
                    worker.answer()
                if turn:  # the first round warms up
                    seconds[contender].append(time.perf_counter() - start)
    finally:
        for worker in crew:
            worker.stop()
    return seconds


def processor_time(
    workload: str, contenders: Sequence[str], *, rounds: int, of: int
) -> dict[str, list[float]]:
    """Return processor seconds for 1/``of`` of the prompts in this process, in turns.

    Other load on the machine affects it less than the wall-clock time of a race.
    """
    tasks = {name: contender(name, workload, 0, of) for name in contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if turn:  # the first round warms up
                seconds[name].append(time.process_time() - start)
    return seconds


def _work(share: int, of: int) -> None:
    known: dict[tuple[str, str], Callable[[], object]] = {}
    for line in sys.stdin:
        workload, name = json.loads(line)
        if (workload, name) not in known:
            known[workload, name] = contender(name, workload, share, of)
        known[workload, name]()
        print(0.0, flush=True)


@dataclass(frozen=True)
class Row:
    """One contender's row of the table."""

    workload: str
    contender: str
    seconds: list[float]
    ratio: float
    mebibytes: float | None

    def run(self, clock: str) -> Run:
        """Return the row as a run that has just ended."""
        seconds = min(self.seconds) if clock == "processor" else statistics.median(self.seconds)
        return Run.here(
            self.workload, self.contender, clock=clock, seconds=seconds, ratio=self.ratio
        )

    def __str__(self) -> str:
        memory = "" if self.mebibytes is None else f"{self.mebibytes:6.0f} MiB"
        middle, least = statistics.median(self.seconds), min(self.seconds)
        return (
            f"{self.workload:16} {self.contender:16} median {middle:7.3f} s"
            f"  least {least:7.3f} s  {self.ratio:6.2f} x {memory}"
        )


def table(
    workload: str,
    contenders: Sequence[str] = CONTENDERS,
    *,
    rounds: int,
    workers: int = 2,
    threads: int = 1,
    memory: bool = False,
) -> list[Row]:
    """Run a race and return each contender's row; its ratio is the median over rounds."""
    contenders = _taking_part(workload, contenders)
    times = race(workload, contenders, rounds=rounds, workers=workers, threads=threads)
    first = times[contenders[0]]
    return [
        Row(
            workload,
            name,
            seconds,
            statistics.median([b / a for a, b in zip(first, seconds, strict=True)]),
            peak(workload, name, workers=workers, threads=threads) if memory else None,
        )
        for name, seconds in times.items()
    ]


def _taking_part(workload: str, contenders: Sequence[str]) -> list[str]:
    """Return the contenders that compute a workload's readouts."""
    needs_logits = "cross-entropy" in workload
    return [name for name in contenders if not (needs_logits and name.startswith("no unembed"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", default=["W"])
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument(
        "--one-core",
        type=int,
        metavar="N",
        help="processor time of one core for 1/N of the prompts, for machines with other load",
    )
    parser.add_argument(
        "--runs", type=int, default=1, help="races, whose ratios are told as a range at the end"
    )
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="add the runs to a file; see benchmarks.runs"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        share, of = options.worker.split("/")
        _work(int(share), int(of))
        return
    if options.one_core and "MALLOC_TOP_PAD_" not in os.environ:
        environment = os.environ | TUNED | {"OMP_NUM_THREADS": "1"}
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.race", *sys.argv[1:]], environment
        )
    runs = []
    for _ in range(options.runs):
        for row in _rows(options):
            print(row, flush=True)
            runs.append(row.run("processor" if options.one_core else "wall-clock"))
    if options.record:
        record(runs, options.record)
    print("\n".join(ranges(runs)), flush=True)


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    """Run the races once."""
    contenders = options.contenders.split(",")
    for workload in options.workloads:
        if not options.one_core:
            yield from table(
                workload,
                contenders,
                rounds=options.rounds,
                workers=options.workers,
                threads=options.threads,
                memory=options.memory,
            )
            continue
        contenders = _taking_part(workload, contenders)
        times = processor_time(workload, contenders, rounds=options.rounds, of=options.one_core)
        first = min(times[contenders[0]])
        for name, seconds in times.items():
            yield Row(workload, name, seconds, min(seconds) / first, None)


if __name__ == "__main__":
    main()
