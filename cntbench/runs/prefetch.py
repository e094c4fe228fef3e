"""Files of models are fetched in the background, a few ahead of what is being measured."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

from cntbench.models.trajectory import ModelRef

#: Models that are fetched at the same time, at most.
THREADS = 4


class Fetched(NamedTuple):
    """What is to be measured, and where its files are, or will be."""

    subject: ModelRef
    folder: Future[Path]


class Prefetch:
    """Fetches models in their order, so many at a time as there is room for.

    Each of them has a room of its own, a folder that is deleted when it is released. Rooms that
    an earlier run has left behind are used or deleted. Fetching threads end with the process: a
    download that hangs keeps nobody waiting.

    Parameters
    ----------
    subjects
        In the order in which they are wanted.
    fetch
        Returns the folder of a subject's files, its room or another one.
    rooms
        Folder of the rooms; nothing else may be in it.
    most
        How many may be fetched and not yet released, at least 1.
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
        self._tasks: SimpleQueue[Fetched | None] = SimpleQueue()
        self._threads = min(THREADS, most)
        self._over = False

    def __enter__(self) -> Self:
        wanted = {subject.name for subject in list(self._waiting)[: self._free]}
        if self.rooms.is_dir():
            for room in self.rooms.iterdir():
                if room.name not in wanted:
                    shutil.rmtree(room, ignore_errors=True)
        for _ in range(self._threads):
            threading.Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        for _ in range(self._threads):
            self._tasks.put(None)
        if kind is None:
            shutil.rmtree(self.rooms, ignore_errors=True)

    def start(self) -> list[Fetched]:
        """Start to fetch as many as there is room for; returns them."""
        started = []
        while self._waiting and self._free:
            fetched = Fetched(self._waiting.popleft(), Future())
            self._free -= 1
            self._tasks.put(fetched)
            started.append(fetched)
        return started

    def widen(self, more: int) -> None:
        """Allow so many more to be fetched and not yet released."""
        self._free += more

    def release(self, subject: ModelRef) -> None:
        """Delete what was fetched: the subject is measured, or cannot be."""
        shutil.rmtree(self.rooms / subject.name, ignore_errors=True)
        self._free += 1

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._over:
            room = self.rooms / task.subject.name
            try:
                task.folder.set_result(self._fetch(task.subject, room))
            except Exception as error:
                task.folder.set_exception(error)  # whoever waits for it is told
