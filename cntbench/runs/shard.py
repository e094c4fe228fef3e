"""A shard of a run: every n-th of what is to be measured, for machines that know nothing of each
other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from cntbench.errors import CntbenchError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``of`` shards, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def label(self) -> str:
        """What stands in names of files."""
        return f"{self.number}-of-{self.of}"

    def among(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return what falls to the shard: dealt out in turns, so that all get early and late."""
        return items[self.number - 1 :: self.of]


def parse_shard(text: str) -> Shard:
    """Read ``2/4``.

    Raises
    ------
    CntbenchError
        If it is not two numbers, or there is no such shard.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
    if not found:
        raise CntbenchError(
            f"{text!r} is no shard of a run",
            where="--shard",
            hint="Write i/n: 1/4, 2/4, 3/4 and 4/4 are together a whole run.",
        )
    number, of = map(int, found.groups())
    if not 1 <= number <= of:
        allowed = f"1/{of} … {of}/{of}" if of > 1 else "1/1"
        raise CntbenchError(
            f"there is no shard {text!r}",
            where="--shard",
            hint=f"Allowed: {allowed}." if of else "There has to be at least one shard.",
        )
    return Shard(number, of)
