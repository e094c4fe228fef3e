"""The scaling tables: their arithmetic with a fake clock, and every series at small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from benchmarks import scaling
from benchmarks.scaling import Entry, Timed, markdown, measure, processes, series
from benchmarks.timing import ratio, turns
from benchmarks.workloads import LlamaShape, Shape, Workload, decoder

TINY = Workload(Shape(2, 2, 16, 32, 200), prompts=4, block=4)
SERIES = series(TINY)


class Clock:
    """Advances by one second, then by two, and so on, whenever it is read."""

    def __init__(self):
        self.now, self.step = 0.0, 0

    def __call__(self):
        self.step += 1
        self.now += self.step
        return self.now


def test_contenders_take_turns_round_by_round():
    order = []
    times = turns(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, clock=Clock()
    )
    assert order == ["a", "b", "a", "b"]
    # The clock is read before and after, so that the even steps are measured.
    assert times == {"a": [2, 6], "b": [4, 8]}
    assert ratio(times["a"], times["b"]) == pytest.approx((4 / 2 + 8 / 6) / 2)


@pytest.mark.parametrize(("least", "rounds"), [(1.3, 1), (1.4, 3)])
def test_no_round_follows_one_that_passes_clearly(least, rounds):
    contenders = {"a": lambda: None, "b": lambda: None}  # in the first round, b takes twice as long
    times = turns(contenders, rounds=3, clock=Clock(), least=least)
    assert [len(seconds) for seconds in times.values()] == [rounds] * 2


def test_a_series_is_told_relative_to_its_first_entry():
    table = markdown("layers", [Timed("2", 0.5, 10**9, 4e9), Timed("4", 1.0, 3 * 10**9, 4e9)])
    assert table.splitlines()[2:] == [
        "| 2 | 500.0 | 1.00 | 1.00 | 2.0 | 0.50 |",
        "| 4 | 1000.0 | 2.00 | 3.00 | 3.0 | 0.75 |",
    ]


@pytest.mark.parametrize("name", SERIES)
def test_every_series_runs(name):
    entries = measure([SERIES[name][0], SERIES[name][-1]], rounds=1)
    assert all(entry.seconds > 0 and entry.floor > 0 for entry in entries)
    if name == "rows at once":
        assert entries[0].flops == entries[1].flops
    else:
        assert entries[0].flops < entries[1].flops


def test_the_floor_has_the_products_of_the_shape():
    shape = LlamaShape(1, 6, 24, 40, 50, key_heads=2)
    assert shape.products[0] == (24, 24 + 8 + 8)
    block, mlp = (stage.blocks[0] for stage in decoder(shape).stages)
    weights = [block.project.weight, block.output.flatten(0, 1).mT]
    weights += [mlp.gate.weight, mlp.inner.weight, mlp.outer.weight]
    assert [(w.shape[1], w.shape[0]) for w in weights] == shape.products
    shape = Shape(1, 2, 16, 32, 50)
    (block, mlp) = decoder(shape).stages[0].blocks
    weights = [block.project.weight, block.output.flatten(0, 1).mT, mlp.inner.weight]
    assert [(w.shape[1], w.shape[0]) for w in [*weights, mlp.outer.weight]] == shape.products


def test_work_is_linear_in_prompts():
    four, eight = (Entry("", TINY.but(prompts=n)) for n in (4, 8))
    assert 2 * scaling._engine(four)[1] == scaling._engine(eight)[1]


class Crewman:
    """A worker that computes nothing, and records what it is told."""

    log: ClassVar[list[tuple[str, int, int]]] = []

    def __init__(self, share: int, of: int, threads: int):
        self.share, self.threads = share, threads

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *told: self.log.append((name, self.share, self.threads))


def test_processes_take_turns_too(monkeypatch):
    # `test_race` starts a real worker.
    monkeypatch.setattr(scaling.Worker, "start", Crewman)
    monkeypatch.setattr(Crewman, "log", [])
    lines = processes("tiny", rounds=2).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| 2 processes × 1 thread",
        "| 1 process × 2 threads",
    ]
    assert lines[2].endswith("| 1.00 |")
    both = [(name, share, 1) for name in ("tell", "answer") for share in range(2)]
    options = [("tell", 0, 2), ("answer", 0, 2)]
    end = [("stop", 0, 1), ("stop", 1, 1), ("stop", 0, 2)]
    assert Crewman.log == [*both, *options] * 3 + end
