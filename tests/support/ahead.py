"""What is copied ahead, where there is no GPU. Workers import it: test modules they cannot."""

from __future__ import annotations

import os

from cntbench.runs.resources import Resources


class CopiedAhead(Resources):
    """The resources of a GPU, as far as a CPU has them."""

    copies_ahead = True


def told_next(item: int, following: int | None) -> tuple[int, int | None]:
    """Which process does an item, and the item that it was told to prepare."""
    return os.getpid(), following
