"""Work that kills the process that does it, as a lack of memory does, or waits for another."""

from __future__ import annotations

import os
import signal
import time
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


class MeetingCells(CheckpointMeasurer):
    """Cells each of which waits, but the first, until two processes have measured one.

    Parameters
    ----------
    place
        Where processes say that they are there.
    """

    def __init__(self, *arguments: Any, place: Path) -> None:
        super().__init__(*arguments)
        self.place = place

    def measured(self, piece: SourceBlock, files: Path) -> xr.Dataset | Failure:
        """Measure a piece."""
        self.place.mkdir(exist_ok=True)
        alone = not list(self.place.iterdir())
        (self.place / str(os.getpid())).touch()
        for _ in range(0 if alone else 300):  # so long that the other process is given work
            if len(list(self.place.iterdir())) > 1:
                break
            time.sleep(0.1)
        return super().measured(piece, files)


def deadly(number_and_killer: tuple[int, Killer | None]) -> int:
    """Return a number, or die."""
    number, killer = number_and_killer
    if killer is not None:
        killer()
    return number
