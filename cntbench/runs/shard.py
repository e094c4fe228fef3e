"""A shard of a run: every n-th model, for one of several machines without communication."""

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
        """Its name in file names."""
        return f"{self.number}-of-{self.of}"

    def among(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return the shard's items: every n-th, so that each shard gets early and late ones."""
        return items[self.number - 1 :: self.of]


def parse_shard(text: str) -> Shard:
    """Parse ``2/4``; raise a `CntbenchError` unless it names a shard."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
    if not match:
        raise CntbenchError(
            f"{text!r} is not a shard of a run",
            where="--shard",
            hint="Write i/n: 1/4, 2/4, 3/4 and 4/4 together are a whole run.",
        )
    number, of = map(int, match.groups())
    if not 1 <= number <= of:
        allowed = f"1/{of} … {of}/{of}" if of > 1 else "1/1"
        raise CntbenchError(
            f"there is no shard {text!r}",
            where="--shard",
            hint=f"Allowed: {allowed}." if of else "There must be at least one shard.",
        )
    return Shard(number, of)
