"""Models that are being measured block by block, by others."""

from __future__ import annotations

from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.results.failure import Failure
from cntbench.models.trajectory import ModelRef
from cntbench.runs.blocks import SourceBlock


class Unfinished:
    """Counts the blocks of every model that are not measured yet.

    Parameters
    ----------
    measurer
        What is measured.
    """

    def __init__(self, measurer: CheckpointMeasurer) -> None:
        self._measurer = measurer
        self._left: dict[ModelRef, int] = {}
        self._failed: dict[ModelRef, Failure] = {}

    def begin(self, subject: ModelRef) -> list[SourceBlock]:
        """Return the blocks that are to be measured of a model; if there are none, `end` it."""
        blocks = self._measurer.blocks(subject)
        self._left[subject] = len(blocks)
        return blocks

    def count(self, subject: ModelRef, failure: Failure | None) -> bool:
        """Note that a block is measured, or why not; returns whether it was the model's last."""
        self._left[subject] -= 1
        if failure is not None:
            self._failed.setdefault(subject, failure)
        return not self._left[subject]

    def end(self, subject: ModelRef) -> Failure | None:
        """Make the checkpoint file of a model whose blocks are all measured; returns what failed first."""
        del self._left[subject]
        return self._failed.pop(subject, None) or self._measurer.join(subject)
