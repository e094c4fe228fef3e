"""Work on several processes, Ctrl-C while they work, and how far the work has come."""

from __future__ import annotations

from collections.abc import Callable

#: Called with the name of an operation, the amount done and the total.
Progress = Callable[[str, int, int], None]
