"""How time and counted work grow with each size.

    python -m benchmarks.scaling                     # all series, Markdown
    python -m benchmarks.scaling layers prompts --rounds 9

Entries of a series take turns in one process with one thread; the time is the median over rounds.
Each is compared with plain affine maps of the same shapes, by the engine's kernel, in the same
rounds: the *share of the floor* is the engine's FLOPs per second over those of these maps. FLOPs
are those of `cntbench.engine.meter`, including the products inside attention. *models* have real
sizes; the last series starts processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch

from benchmarks.contenders import TUNED
from benchmarks.race import Worker
from benchmarks.timing import turns
from benchmarks.workloads import S, Shape, W, Workload, decoder
from cntbench.engine import chunking, influence
from cntbench.engine.meter import predicted_work
from cntbench.engine.request import Request
from cntbench.models.products import affine

#: Pythia-14M's shape, with a small vocabulary, because only two logits are read.
BASE = Workload(Shape(6, 4, 128, 512, 1024), prompts=16, block=16)
#: Real models with few prompts.
MODELS: Mapping[str, Workload] = {
    "Pythia-14M": W.but(prompts=8),
    "SmolLM2-135M": S.but(prompts=1),
}
#: Rows of the plain maps.
ROWS = chunking.STAGE_ROWS_AT_ONCE

Limits = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Entry:
    """One row of a series: a workload, and its division into chunks if not the default."""

    label: str
    workload: Workload
    limits: Limits = nullcontext

    def call(self) -> Request:
        """The request to the engine."""
        work = self.workload
        return Request(
            decoder(work.shape),
            work.make_prompts(),
            work.make_ablations(),
            observe_all=work.observe_all,
            effects=work.effects,
            readouts=work.effects,
        )


@dataclass(frozen=True)
class Timed:
    """A measured entry.

    Parameters
    ----------
    label
        Name of the entry.
    seconds
        Median over rounds.
    flops
        Counted FLOPs.
    floor
        FLOPs per second of plain affine maps of its shapes.
    """

    label: str
    seconds: float
    flops: int
    floor: float

    @property
    def share(self) -> float:
        """The engine's FLOPs per second over those of the plain maps."""
        return self.flops / self.seconds / self.floor


def series(base: Workload) -> Mapping[str, list[Entry]]:
    """Return all series by the size that grows."""
    shape = base.shape

    def shapes(key: str, sizes: Sequence[int], work: Workload = base) -> list[Entry]:
        return [Entry(str(n), work.but(shape=replace(shape, **{key: n}))) for n in sizes]

    crossing = base.but(effects=("cross_entropy",))
    methods = ("zero", "mean", "resample")
    parts = [max(1, shape.layers * (shape.heads + 1) // n) for n in (1, 2, 5, 10)]
    rows = [chunking.STAGE_ROWS_AT_ONCE * n // 4 for n in (8, 1, 2, 4, 16)]
    return {
        "layers": shapes("layers", [2, 4, 8, 12]),
        "heads": shapes("heads", [2, 4, 8, 16]),
        "prompts": [Entry(str(n), base.but(prompts=n)) for n in (4, 8, 16, 32, 64)],
        "tokens": [Entry(str(2 * n), base.but(block=n)) for n in (8, 16, 32, 64)],
        "vocabulary": shapes("vocabulary", [1024, 4096, 16384, 50304], crossing),
        "ablations": [
            Entry(", ".join(methods[:n]), base.but(ablations=methods[:n])) for n in (1, 2, 3)
        ],
        "sources at once": [Entry(str(n), base, lambda n=n: sources_at_once(n)) for n in parts],
        "rows at once": [Entry(str(n), base, lambda n=n: rows_at_once(n)) for n in rows],
    }


@contextmanager
def sources_at_once(count: int) -> Iterator[None]:
    """Limit the sources that a sweep carries together."""

    def limited(*arguments: object, **sizes: object) -> chunking.Chunking:
        return replace(chunking.chunking(*arguments, **sizes), sources=count)

    with patch.object(influence, "chunking", limited):
        yield


@contextmanager
def rows_at_once(count: int) -> Iterator[None]:
    """Set the number of rows that go through a stage at once."""
    with patch.multiple(chunking, STAGE_ROWS_AT_ONCE=count, MOST_TIMES=1):
        yield


def measure(
    entries: Sequence[Entry], *, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[Timed]:
    """Time the entries of a series, and plain affine maps of their shapes, in turns."""
    contenders: dict[tuple[str, int], Callable[[], object]] = {}
    flops, of_product = [], []
    for number, entry in enumerate(entries):
        run, work = _engine(entry)
        product, its = _product(entry.workload.shape)
        contenders |= {("engine", number): run, ("product", number): product}
        flops.append(work)
        of_product.append(its)
    for contender in contenders.values():
        contender()
    seconds = turns(contenders, rounds=rounds, clock=clock)
    return [
        Timed(
            entry.label,
            statistics.median(seconds["engine", number]),
            flops[number],
            of_product[number] / statistics.median(seconds["product", number]),
        )
        for number, entry in enumerate(entries)
    ]


def _engine(entry: Entry) -> tuple[Callable[[], object], int]:
    call = entry.call()

    def run() -> object:
        with entry.limits():
            return influence.influence(call)

    with entry.limits():
        return run, predicted_work(call).flops


def _product(shape: Shape) -> tuple[Callable[[], object], int]:
    """Return plain affine maps of a layer's shapes, and their FLOPs."""
    inputs = [(torch.randn(ROWS, a), torch.randn(b, a), torch.randn(b)) for a, b in shape.products]
    times = 4

    @torch.inference_mode()
    def products() -> None:
        for _ in range(times):
            for rows, weight, bias in inputs:
                affine(rows, weight, bias)

    return products, times * sum(2 * ROWS * a * b for a, b in shape.products)


def markdown(name: str, entries: Sequence[Timed]) -> str:
    """Return a series as a table, times and counts relative to its first entry."""
    first = entries[0]
    lines = [
        f"| {name} | time [ms] | time, × first | FLOPs, × first | GFLOP/s | share of the floor |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {entry.label} | {entry.seconds * 1e3:.1f} | {entry.seconds / first.seconds:.2f} "
        f"| {entry.flops / first.flops:.2f} | {entry.flops / entry.seconds / 1e9:.1f} "
        f"| {entry.share:.2f} |"
        for entry in entries
    ]
    return "\n".join(lines)


def processes(workload: str, *, rounds: int) -> str:
    """Return a table of two processes of one thread against one process of two, in turns."""
    crews = {
        "2 processes × 1 thread": [Worker.start(share, 2, 1) for share in range(2)],
        "1 process × 2 threads": [Worker.start(0, 1, 2)],
    }

    def whole(crew: Sequence[Worker]) -> None:
        for worker in crew:
            worker.tell(workload, "engine")
        for worker in crew:
            worker.answer()

    contenders = {name: lambda crew=crew: whole(crew) for name, crew in crews.items()}
    try:
        for contender in contenders.values():
            contender()
        seconds = turns(contenders, rounds=rounds)
    finally:
        for crew in crews.values():
            for worker in crew:
                worker.stop()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    first = next(iter(medians.values()))
    lines = [f"| processes, {workload} | time [ms] | time, × first |", "|---|---|---|"]
    lines += [f"| {n} | {s * 1e3:.1f} | {s / first:.2f} |" for n, s in medians.items()]
    return "\n".join(lines)


def main() -> None:
    every = {
        **series(BASE),
        "models": [Entry(name, workload) for name, workload in MODELS.items()],
    }
    known = [*every, "processes"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("series", nargs="*", metavar="SERIES", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--processor-time", action="store_true", help="for machines with other load"
    )
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    wrong = set(options.series) - set(known)
    if wrong:
        parser.error(f"no series {', '.join(sorted(wrong))}; there are {', '.join(known)}")
    if "MALLOC_TOP_PAD_" not in os.environ:  # the allocator reads its thresholds at startup
        environment = os.environ | TUNED | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:]]
        os.execve(sys.executable, command, environment)
    torch.set_num_threads(1)
    for name, entries in every.items():
        if name in (options.series or known):
            print(
                markdown(name, measure(entries, rounds=options.rounds, clock=clock)),
                end="\n\n",
                flush=True,
            )
    if "processes" in (options.series or known):
        print(processes("W", rounds=options.rounds), flush=True)


if __name__ == "__main__":
    main()
