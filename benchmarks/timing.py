"""Timing of contenders that take turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

Name = TypeVar("Name")


def turns(
    contenders: Mapping[Name, Callable[[], object]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Return each contender's seconds per round, so that disturbances affect all of them.

    There is no warm-up: call each contender once before, for its result.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = clock()
            contender()
            seconds[name].append(clock() - start)
    return seconds


def ratio(first: list[float], other: list[float]) -> float:
    """Return the median over rounds of the other's time divided by the first's."""
    return statistics.median(b / a for a, b in zip(first, other, strict=True))


def yardstick() -> None:
    """Do fixed work of the kind that metrics and null models do, in NumPy and in Python."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        graphs = rng.random((143, 15, 15))
        np.sort(graphs, axis=-1).cumsum(axis=-1) @ graphs
        np.argsort(graphs.reshape(143, -1), axis=-1)
        sum(weight * weight for weight in graphs[:20].ravel().tolist())


class Cost(NamedTuple):
    """Processor time of a contender [s], and in units of that of `yardstick`."""

    seconds: float
    yardsticks: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, {self.yardsticks:.2f} yardsticks"


def cost(contender: Callable[[], object], *, rounds: int) -> Cost:
    """Return the median processor time of a contender that takes turns with `yardstick`."""
    contenders = {"yardstick": yardstick, "contender": contender}
    seconds = turns(contenders, rounds=rounds, clock=time.process_time)
    own = statistics.median(seconds["contender"])
    return Cost(own, ratio(seconds["yardstick"], seconds["contender"]))
