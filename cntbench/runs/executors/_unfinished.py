"""Models that are being measured piece by piece, by others."""

from __future__ import annotations

from cntbench.runs.measurer import CheckpointMeasurer
from cntbench.results.failure import Failure
from cntbench.models.trajectory import ModelRef
from cntbench.runs.blocks import SourceBlock


class Unfinished:
    """Counts the pieces of every model that are not measured yet.

    Parameters
    ----------
    cells
        What is measured.
    """

    def __init__(self, cells: CheckpointMeasurer) -> None:
        self._cells = cells
        self._left: dict[ModelRef, int] = {}
        self._failed: dict[ModelRef, Failure] = {}

    def begin(self, subject: ModelRef) -> list[SourceBlock]:
        """Return the pieces that are to be measured of a model; if there are none, `end` it."""
        pieces = self._cells.pieces(subject)
        self._left[subject] = len(pieces)
        return pieces

    def count(self, subject: ModelRef, failure: Failure | None) -> bool:
        """Note that a piece is measured, or why not; returns whether it was the model's last."""
        self._left[subject] -= 1
        if failure is not None:
            self._failed.setdefault(subject, failure)
        return not self._left[subject]

    def end(self, subject: ModelRef) -> Failure | None:
        """Make the checkpoint file of a model whose pieces are all measured; returns what failed first."""
        del self._left[subject]
        return self._failed.pop(subject, None) or self._cells.join(subject)
