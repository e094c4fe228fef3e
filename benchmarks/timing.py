"""Contenders that take turns in one process."""

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
    """Return each contender's seconds, round by round, so that all meet the same disturbances.

    Nothing is warmed up: call each once before, for its result.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = clock()
            contender()
            seconds[name].append(clock() - start)
    return seconds


def ratio(first: list[float], other: list[float]) -> float:
    """Return how many times the first's time the other takes: the median over rounds."""
    return statistics.median(b / a for a, b in zip(first, other, strict=True))
