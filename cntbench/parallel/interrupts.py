"""Ctrl-C: delay it, keep it from worker processes, and never lose it.

Only the main thread handles signals; in other threads, these functions have no effect.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

_received = False


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], object], number: int = signal.SIGINT
) -> Iterator[None]:
    """Replace the handler of Ctrl-C, or of another signal, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C until the end of a block that must not be interrupted."""
    held: list[int] = []
    try:
        with _handling(lambda number, frame: held.append(number)):
            yield
    finally:
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def starting_processes() -> Iterator[None]:
    """Start processes that Ctrl-C never reaches, not even while they start.

    A process inherits the blocked signals of the thread that starts it. On Windows, which has no
    such masks, processes have to ignore Ctrl-C themselves.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with interrupts_held():
        resource_tracker.ensure_running()  # starting it later would unblock them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupts_remembered() -> Iterator[None]:
    """Record Ctrl-C, because the interrupted code, such as an import, may swallow it.

    `interrupted` and `check_interrupted` then report it. SIGTERM, which clusters send, is the same.
    """
    global _received
    _received = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        global _received
        _received = True
        signal.default_int_handler(number, frame)

    try:
        with _handling(interrupt), _handling(_as_interrupt, signal.SIGTERM):
            yield
    finally:
        _received = False


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def interrupted() -> bool:
    """Return whether Ctrl-C was pressed within the block of `interrupts_remembered`."""
    return _received


def check_interrupted() -> None:
    """Raise a `KeyboardInterrupt` that was swallowed, if there was one."""
    if _received:
        raise KeyboardInterrupt
