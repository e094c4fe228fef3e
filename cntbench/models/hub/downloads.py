"""How much of a trajectory is still to be downloaded, before any of it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cntbench.models.hub import client
from cntbench.models.hub.origin import HubRevision
from cntbench.models.outline import Outline
from cntbench.models.trajectory import Checkpoint
from cntbench.models.weight_files import listed_bytes


@dataclass(frozen=True)
class Download:
    """What is to be downloaded.

    Parameters
    ----------
    count
        Number of checkpoints that are not on this machine.
    each
        Size of one checkpoint's weights [bytes].
    source
        How the size is known: ``"hub"``, by its list of files, of the first of them that it lists;
        ``"config"``, by the number of parameters and their type; or ``"table"``, by those and the
        attention masks that Pythia's files hold.
    """

    count: int
    each: int
    source: Literal["hub", "config", "table"]

    @property
    def total(self) -> int:
        """Size of all of them [bytes]."""
        return self.count * self.each


def to_download(outline: Outline | None, checkpoints: Sequence[Checkpoint]) -> Download | None:
    """Return what has to be downloaded to measure some checkpoints, None if nothing has."""
    origins = [c.origin for c in checkpoints if isinstance(c.origin, HubRevision)]
    missing = [origin for origin in origins if not origin.is_here()]
    if outline is None or not missing:
        return None
    known = next((origin for origin in missing if origin.commit), None)
    if known is not None and not known.unreachable:
        size = listed_bytes(client.sizes(known.repository, known.commit))
        if size:
            return Download(len(missing), size, "hub")
    source: Literal["config", "table"] = "table" if outline.mask_bytes else "config"
    return Download(len(missing), outline.stored_bytes, source)
