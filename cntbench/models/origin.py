"""Where the files of a checkpoint come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Origin(Protocol):
    """A place that has ``config.json`` and the weights of a checkpoint, or can get them."""

    @property
    def identity(self) -> str:
        """What fixes the files before they are read, such as a commit hash; else empty."""
        ...

    def fetch(self, room: Path | None = None) -> Path:
        """Return a folder that has the files.

        Parameters
        ----------
        room
            A folder for files that are not on this machine yet. Who names it may delete it; without
            one, what is fetched is kept where others of its kind are.

        Raises
        ------
        CheckpointError
            If they cannot be had; a `MissingCheckpointError` if there are none.
        """
        ...

    def at(self, identity: str) -> Origin:
        """Return the same place at another identity, itself if there is no way back to it."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder of this machine; its files may change."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> str:
        """Nothing fixes the files."""
        return ""

    def fetch(self, room: Path | None = None) -> Path:
        """Return the folder itself."""
        return self.path

    def at(self, identity: str) -> Folder:
        """Return the folder itself."""
        return self
