"""The unit of work: the components of one model that are ablated together.

A model is one block, unless the study divides large models into blocks of sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cntbench.models.trajectory import ModelRef


@dataclass(frozen=True)
class SourceBlock:
    """The ``number``-th of ``of`` blocks of a model's components, counted from 1."""

    subject: ModelRef
    number: int = 1
    of: int = 1

    @property
    def whole(self) -> bool:
        """Whether it covers the model."""
        return self.of == 1

    def sources(self, ablated: Sequence[int]) -> Sequence[int]:
        """Return its sources among the components that are ablated."""
        part = split_evenly(len(ablated), self.of)[self.number - 1]
        return ablated[part.start : part.stop]


def split_evenly(components: int, blocks: int) -> list[range]:
    """Divide components into blocks whose sizes differ by at most one."""
    ends = [components * number // blocks for number in range(blocks + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def source_blocks(subject: ModelRef, blocks: int) -> list[SourceBlock]:
    """Return all blocks of a model."""
    return [SourceBlock(subject, number, blocks) for number in range(1, blocks + 1)]
