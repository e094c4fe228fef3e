"""Origins: where the files of a checkpoint come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Origin(Protocol):
    """A source of the ``config.json`` and the weights of a checkpoint."""

    @property
    def identity(self) -> str:
        """What identifies the files before they are read, such as a commit hash, or empty."""
        ...

    def fetch(self, room: Path | None = None) -> Path:
        """Return a folder that has the files.

        Parameters
        ----------
        room
            Folder to download missing files into; the caller may delete it. Without it, files are
            downloaded into the shared cache of their source.

        Raises
        ------
        CheckpointError
            If the files cannot be obtained; a `MissingCheckpointError` if there are none.
        """
        ...

    def at(self, identity: str) -> Origin:
        """Return this origin at another identity, or itself if it has no earlier states."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder of this machine; its files may change."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> str:
        """Empty: the files may change."""
        return ""

    def fetch(self, room: Path | None = None) -> Path:
        """Return the folder itself."""
        return self.path

    def at(self, identity: str) -> Folder:
        """Return the folder itself."""
        return self
