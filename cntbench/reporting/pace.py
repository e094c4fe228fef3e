"""How fast work goes, and how long the rest will take."""

from __future__ import annotations

from time import monotonic

from cntbench.reporting.wording import duration


class Pace:
    """The time left of counted work, by its mean pace since the total was last changed.

    What was done before, such as checkpoints of an interrupted run, does not count.
    """

    def __init__(self) -> None:
        self._total = self._first = self._count = 0
        self._began = self._last = 0.0

    def update(self, count: int, total: int) -> bool:
        """Note a count; return whether the total is a new one."""
        time, is_new = monotonic(), total != self._total
        if is_new or count < self._count:
            self._total, self._first, self._began = total, count, time
        self._count, self._last = count, time
        return is_new

    def seconds_left(self) -> float | None:
        """Return the time left [s]; None before the first unit of work is done."""
        done = self._count - self._first
        if not done:
            return None
        per_unit = (self._last - self._began) / done
        return max(0.0, per_unit * (self._total - self._count) - (monotonic() - self._last))

    @property
    def words(self) -> str:
        """The time left in words; empty where it is not known."""
        seconds = self.seconds_left()
        return "" if seconds is None else f"about {duration(seconds)} left"
