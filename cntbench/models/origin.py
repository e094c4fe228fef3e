"""Origins: the sources of a checkpoint's files."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from cntbench.models.cache import cached_folder

#: Marks a complete folder of links, and names their target.
LINKED = "linked.txt"


class Origin(ABC):
    """A source of the ``config.json`` and the weights of a checkpoint."""

    @property
    def identity(self) -> str:
        """Identity of the files before they are read, such as a commit hash; empty if unknown."""
        return ""

    @abstractmethod
    def fetch(self, room: Path | None = None) -> Path:
        """Return a folder with the files.

        Raises a `CheckpointError` if the files cannot be obtained; a `MissingCheckpointError` if
        there are none.

        Parameters
        ----------
        room
            Folder to download missing files into; the caller may delete it. By default, the shared
            cache of the source.
        """

    def at(self, identity: str) -> Origin:
        """Return this origin with another identity, or itself if it has no earlier states."""
        return self


@dataclass(frozen=True)
class Folder(Origin):
    """A folder on this machine, whose files may change."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def fetch(self, room: Path | None = None) -> Path:
        """Return the folder itself."""
        return self.path


@dataclass(frozen=True)
class SingleFile(Folder):
    """A file of weights on this machine, which uses the ``config.json`` beside it.

    Libraries read folders, so a folder of links to the two files represents it.
    """

    def fetch(self, room: Path | None = None) -> Path:
        """Return a folder of links to the file and its config."""
        if room is None:
            name = hashlib.sha256(str(self.path.absolute()).encode()).hexdigest()[:16]
            return cached_folder(f"file-{name}", LINKED, self._link)
        room.mkdir(parents=True, exist_ok=True)
        self._link(room)
        return room

    def _link(self, folder: Path) -> str:
        """Fill a folder with links and return their target."""
        path = self.path.absolute()  # a link's own name and folder: those of its target may differ
        safe = path.suffix == ".safetensors"
        weights = "model.safetensors" if safe else "pytorch_model.bin"
        for name, target in ((weights, path), ("config.json", path.with_name("config.json"))):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(target)
        return f"{path}\n"
