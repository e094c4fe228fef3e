"""Timing of contenders that take turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np

Name = TypeVar("Name")
#: A round whose ratio keeps its limit by this factor needs no further rounds to confirm it.
CLEAR = 1.5


def turns(
    contenders: Mapping[Name, Callable[[], object]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    least: float = np.inf,
) -> dict[Name, list[float]]:
    """Return each contender's seconds per round, so that disturbances affect all of them.

    There is no warm-up: call each contender once before, for its result.

    Parameters
    ----------
    contenders
        By name; ratios are those of the last to the first.
    rounds
        Number of rounds, at least 1.
    clock
        Returns seconds.
    least
        The least ratio that passes: no round follows one whose ratio is `CLEAR` times as large.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = clock()
            contender()
            seconds[name].append(clock() - start)
        first, *_, last = seconds.values()
        if last[-1] >= CLEAR * least * first[-1]:
            break
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


def cost(contender: Callable[[], object], *, rounds: int, limit: float) -> Cost:
    """Return the median processor time of a contender that takes turns with `yardstick`.

    There is one round if it keeps the limit, in yardsticks, clearly.
    """
    contenders = {"contender": contender, "yardstick": yardstick}
    seconds = turns(contenders, rounds=rounds, clock=time.process_time, least=1 / limit)
    own = statistics.median(seconds["contender"])
    return Cost(own, ratio(seconds["yardstick"], seconds["contender"]))
