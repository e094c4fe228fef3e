"""The user's cache of trajectories: a folder is complete when it has its manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from safetensors import SafetensorError

from cntbench.errors import CntbenchError
from cntbench.files.output import user_path


def cache_folder() -> Path:
    """Return the cache folder: ``CNTBENCH_CACHE`` if it is set, else the user's cache folder."""
    chosen = os.environ.get("CNTBENCH_CACHE")
    return user_path(chosen) if chosen else user_cache_path("cntbench")


def cached_folder(
    name: str, manifest: str, make: Callable[[Path], str], *, in_place: bool = False
) -> Path:
    """Return a folder of the cache, making it if it is missing; one process at a time makes it.

    Parameters
    ----------
    name
        Name of the folder.
    manifest
        Name of the file whose presence marks the folder as complete.
    make
        Fills an empty folder and returns the text of the manifest.
    in_place
        Whether the folder has its name before it is complete, for those that wait for parts of it.
    """
    folder = cache_folder() / name
    try:
        if (folder / manifest).is_file():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock")
        lock.touch()  # a lock that cannot be made is waited for without end
        with FileLock(lock):
            if (folder / manifest).is_file():
                return folder
            unfinished = folder if in_place else folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            text = make(unfinished)
            written = unfinished / f"{manifest}.unfinished"
            written.write_text(text, encoding="utf-8")
            written.rename(unfinished / manifest)
            if not in_place:
                shutil.rmtree(folder, ignore_errors=True)
                unfinished.rename(folder)
    except (OSError, SafetensorError) as error:  # the latter on a full disk
        raise CntbenchError(
            f"the trajectory cannot be stored: {error}",
            where=str(folder.parent),
            hint="Set CNTBENCH_CACHE to a folder that can be written.",
        ) from None
    return folder
