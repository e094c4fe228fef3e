"""Revisions of a hub repository as origins of checkpoints, and what is left to download."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cntbench.errors import CheckpointError, MissingCheckpointError
from cntbench.models import weight_files
from cntbench.models.hub import client
from cntbench.models.hub.problems import offline_hint
from cntbench.models.origin import Origin
from cntbench.models.outline import Outline
from cntbench.models.trajectory import Checkpoint
from cntbench.models.weight_samples import WeightSample, joined, sample_safetensors

CONFIG = "config.json"
#: The file that marks a room as having all files of a commit.
MARK = ".whole"


@dataclass(frozen=True)
class HubRevision(Origin):
    """The files of a commit: in the hub cache, or downloaded.

    Parameters
    ----------
    repository
        ``ORG/NAME``.
    name
        Branch or tag.
    commit
        Commit hash of the revision; empty if there is no such revision or it is unknown.
    unreachable
        Why the hub's list of revisions could not be read, or empty.
    cut_off
        Whether there is no network, so that files come from the hub cache only.
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

    @property
    def absent(self) -> bool:
        """Whether the repository has no such revision, unless the hub could not be asked."""
        return not (self.commit or self.unreachable)

    def at(self, identity: str) -> HubRevision:
        """Return the revision at an earlier commit."""
        return replace(self, commit=identity)

    def file(self, name: str, room: Path | None = None) -> Path | None:
        """Return a file of the commit, or None if it has no such file.

        It is downloaded into ``room``, or into the hub cache.
        """
        cut_off = self.unreachable if self.cut_off else ""
        return client.file(
            self.repository, self.commit, name, where=str(self), room=room, cut_off=cut_off
        )

    def fetch(self, room: Path | None = None) -> Path:
        """Return the folder of the files: in the hub cache, or the room they are downloaded into.

        Only the config and one format of weights are downloaded; safetensors are preferred.
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
            missing = weight_files.EXPECTED if config else CONFIG
            raise MissingCheckpointError(f"the revision has no {missing}", where=str(self))
        if room:
            (room / MARK).write_text(self.commit)
        return config.parent

    def sample(self, buffers: Sequence[str] = ()) -> WeightSample:
        """Return headers and samples of the weights, by ranges of bytes, and the files' hashes.

        Files of pickled weights have no header: only the hash that the hub lists is known of them.
        ``buffers`` are endings of the names of tensors that are no weights. Raises a
        `CheckpointError` if they cannot be had, are damaged, or not finite.
        """
        self._check_known()
        listing = client.listing(self.repository, self.commit, where=str(self))
        names = weight_files.listed(listing)
        lacking = weight_files.EXPECTED if not names else weight_files.missing_part(names)
        if lacking:
            raise MissingCheckpointError(f"the revision has no {lacking}", where=str(self))
        sample = joined({name: self._sample(name, listing[name], buffers) for name in names})
        sample.check_finite(str(self))
        return sample

    def _sample(self, name: str, listed: client.ListedFile, buffers: Sequence[str]) -> WeightSample:
        if not name.endswith(".safetensors"):
            return WeightSample(files={name: listed.sha256})

        def read(start: int, stop: int) -> bytes:
            return client.part(self.repository, self.commit, name, start, stop, where=str(self))

        where = f"{self}/{name}"
        sample = sample_safetensors(read, listed.size, buffers=buffers, where=where)
        return replace(sample, files={name: listed.sha256}) if listed.sha256 else sample

    def is_here(self) -> bool:
        """Return whether the hub cache has all of the files."""
        folder = client.cached(self.repository, self.commit) if self.commit else None
        return folder is not None and _is_whole(folder)

    def _check_known(self) -> None:
        if self.commit:
            return
        if not self.unreachable:
            raise MissingCheckpointError("the repository has no such revision", where=str(self))
        raise CheckpointError(
            f"could not be downloaded: {self.unreachable}",
            where=str(self),
            hint=offline_hint(self.repository),
        )


def _is_whole(folder: Path) -> bool:
    """Return whether a folder of the hub cache has all of the weights."""
    try:
        weight_files.find(folder)
    except CheckpointError:
        return False
    return True


@dataclass(frozen=True)
class Download:
    """The size of a download.

    Parameters
    ----------
    count
        Number of checkpoints that are not in the hub cache.
    each
        Size of one checkpoint's weights [bytes].
    source
        Source of the size: ``"hub"``, the list of files of the first missing checkpoint;
        ``"config"``, the number and type of the parameters; or ``"table"``, those and the
        attention masks in Pythia's files.
    """

    count: int
    each: int
    source: Literal["hub", "config", "table"]

    @property
    def total(self) -> int:
        """Size of all checkpoints [bytes]."""
        return self.count * self.each


def to_download(outline: Outline | None, checkpoints: Sequence[Checkpoint]) -> Download | None:
    """Return what has to be downloaded to measure the checkpoints, or None."""
    origins = [c.origin for c in checkpoints if isinstance(c.origin, HubRevision)]
    missing = [origin for origin in origins if not (origin.absent or origin.is_here())]
    if outline is None or not missing:
        return None
    first = next((origin for origin in missing if origin.commit), None)
    if first is not None and not first.unreachable:
        with suppress(CheckpointError):
            files = client.listing(first.repository, first.commit, where=str(first))
            size = weight_files.listed_bytes({name: file.size for name, file in files.items()})
            if size:
                return Download(len(missing), size, "hub")
    source: Literal["config", "table"] = "table" if outline.mask_bytes else "config"
    return Download(len(missing), outline.stored_bytes, source)
