"""Timing of contenders that take turns in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

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
