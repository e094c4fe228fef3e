"""Work that kills the process that does it, as a lack of memory does."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import xarray as xr

from cntbench.results.failure import Failure
from cntbench.runs.blocks import SourceBlock
from cntbench.runs.measurer import CheckpointMeasurer


class Killer:
    """Kills the process that it is called in, as often as it may.

    Parameters
    ----------
    folder
        Where deaths are noted.
    most
        How many processes it kills.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self.folder = folder
        self.most = most

    @property
    def deaths(self) -> int:
        """So many it has killed."""
        return len(list(self.folder.iterdir())) if self.folder.is_dir() else 0

    def __call__(self) -> None:
        """Kill this process, unless it has killed enough."""
        if self.deaths < self.most:
            self.folder.mkdir(exist_ok=True)
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlyCells(CheckpointMeasurer):
    """Cells of which one kills.

    Parameters
    ----------
    killer, victim
        What kills, and at which piece.
    """

    def __init__(self, *arguments: Any, killer: Killer, victim: SourceBlock) -> None:
        super().__init__(*arguments)
        self.killer = killer
        self.victim = victim

    def measured(self, piece: SourceBlock, files: Path) -> xr.Dataset | Failure:
        """Measure a piece, or die."""
        if piece == self.victim:
            self.killer()
        return super().measured(piece, files)


def deadly(number_and_killer: tuple[int, Killer | None]) -> int:
    """Return a number, or die."""
    number, killer = number_and_killer
    if killer is not None:
        killer()
    return number
