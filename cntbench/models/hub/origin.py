"""A revision of a repository of the hub as the origin of a checkpoint."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from cntbench.errors import CheckpointError, MissingCheckpointError
from cntbench.models import weight_files
from cntbench.models.hub import client
from cntbench.models.hub.problems import offline_hint

CONFIG = "config.json"
#: The file that says that a room has all files of a commit.
MARK = ".whole"


@dataclass(frozen=True)
class HubRevision:
    """The files of a commit: in the hub cache, or downloaded.

    Parameters
    ----------
    repository
        ``ORG/NAME``.
    name
        Branch or tag.
    commit
        What it stands for; empty if there is no such revision, or nothing is known of it.
    unreachable
        Why the hub could not be asked for its revisions; else empty.
    cut_off
        Whether files are not asked for either, but looked for in the hub cache alone.
    """

    repository: str
    name: str
    commit: str
    unreachable: str = ""
    cut_off: bool = False

    def __str__(self) -> str:
        return f"hub:{self.repository}@{self.name}"

    @property
    def identity(self) -> str:
        """The commit hash."""
        return self.commit

    def at(self, identity: str) -> HubRevision:
        """Return the same revision at the commit that it stood for before."""
        return replace(self, commit=identity)

    def file(self, name: str, room: Path | None = None) -> Path | None:
        """Return a file of the commit, None if it has no such file.

        Parameters
        ----------
        name
            The file's.
        room
            Folder to download into; without one, the hub cache, where it stays.

        Raises
        ------
        CheckpointError
            If it could not be had.
        """
        cut_off = self.unreachable if self.cut_off else ""
        return client.file(
            self.repository, self.commit, name, where=str(self), room=room, cut_off=cut_off
        )

    def fetch(self, room: Path | None = None) -> Path:
        """Return the folder of the files: the hub cache's, or the room that they are loaded into.

        Safetensors are preferred; nothing but the config and one format of weights is downloaded.
        """
        if room and (room / MARK).is_file() and (room / MARK).read_text() == self.commit:
            return room
        self._check_known()
        folder = client.cached(self.repository, self.commit)
        if folder and _is_whole(folder):
            return folder
        if room:
            shutil.rmtree(room, ignore_errors=True)
        config = self.file(CONFIG, room)
        files = weight_files.collect(lambda name: self.file(name, room)) if config else None
        if config is None or files is None:
            lacking = weight_files.EXPECTED if config else CONFIG
            raise MissingCheckpointError(f"the revision has no {lacking}", where=str(self))
        if room:
            (room / MARK).write_text(self.commit)
        return config.parent

    def is_here(self) -> bool:
        """Whether the hub cache has all of the files."""
        folder = client.cached(self.repository, self.commit) if self.commit else None
        return folder is not None and _is_whole(folder)

    def _check_known(self) -> None:
        if self.commit:
            return
        if not self.unreachable:
            raise MissingCheckpointError("the repository has no such revision", where=str(self))
        raise CheckpointError(
            f"could not be had: {self.unreachable}",
            where=str(self),
            hint=offline_hint(self.repository),
        )


def _is_whole(folder: Path) -> bool:
    """Whether a folder of the hub cache has all of the weights; it may have some of the files."""
    try:
        weight_files.find(folder)
    except CheckpointError:
        return False
    return True
