"""Fetch the files of models in the background, a few ahead of those being measured."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple, Self

from cntbench.errors import HubTimeoutError, warn
from cntbench.models.trajectory import ModelRef

#: Most models that are fetched at the same time.
THREADS = 4


class Fetched(NamedTuple):
    """A model, and the folder of its files once they are fetched."""

    subject: ModelRef
    folder: Future[Path]


class Prefetch:
    """Fetches models in order, as many at a time as are allowed.

    Each model has a room, a folder that is deleted when the model is released. Rooms left by an
    earlier run are used or deleted. The threads end with the process: a download that hangs does
    not keep it alive.

    Parameters
    ----------
    subjects
        The models, in the order in which they are needed.
    fetch
        Returns the folder of a model's files: the given room or another folder.
    rooms
        Folder of the rooms and of nothing else.
    most
        How many models may be fetched and not yet released, at least 1.
    """

    def __init__(
        self,
        subjects: Sequence[ModelRef],
        fetch: Callable[[ModelRef, Path], Path],
        rooms: Path,
        most: int,
    ) -> None:
        self.rooms = rooms
        self._fetch = fetch
        self._waiting = deque(subjects)
        self._free = most
        self._postponed: set[ModelRef] = set()
        self._tasks: SimpleQueue[Fetched | None] = SimpleQueue()
        self._threads = min(THREADS, most)
        self._closed = False

    def __enter__(self) -> Self:
        next_names = {subject.name for subject in list(self._waiting)[: self._free]}
        if self.rooms.is_dir():
            for room in self.rooms.iterdir():
                if room.name not in next_names:
                    shutil.rmtree(room, ignore_errors=True)
        for _ in range(self._threads):
            threading.Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        self._closed = True
        for _ in range(self._threads):
            self._tasks.put(None)
        if kind is None:
            shutil.rmtree(self.rooms, ignore_errors=True)

    def start(self) -> list[Fetched]:
        """Start to fetch as many models as are allowed, and return them."""
        started = []
        while self._waiting and self._free:
            fetched = Fetched(self._waiting.popleft(), Future())
            self._free -= 1
            self._tasks.put(fetched)
            started.append(fetched)
        return started

    def widen(self, more: int) -> None:
        """Raise the number of models that may be fetched and not yet released."""
        self._free += more

    def postpone(self, subject: ModelRef, error: BaseException | None) -> bool:
        """Fetch a model again after the others, once, if its hub hangs; return whether it will."""
        if not isinstance(error, HubTimeoutError) or subject in self._postponed:
            return False
        self._postponed.add(subject)
        self._waiting.append(subject)
        self.release(subject)
        warn(f"{error.where}: {error.what}; tried again after the others")
        return True

    def release(self, subject: ModelRef) -> None:
        """Delete the room of a model that is measured, or cannot be."""
        shutil.rmtree(self.rooms / subject.name, ignore_errors=True)
        self._free += 1

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._closed:
            room = self.rooms / task.subject.name
            try:
                task.folder.set_result(self._fetch(task.subject, room))
            except Exception as error:
                task.folder.set_exception(error)  # raised where the folder is used
