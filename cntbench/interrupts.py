"""Ctrl-C: when it arrives, and that it is never lost.

Signals are the main thread's business: in any other one, these functions change nothing.
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
def _handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Handle Ctrl-C in another way, where it is this thread's business."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, for a moment that must not be torn apart; it arrives afterwards."""
    held: list[int] = []
    try:
        with _handling(lambda number, frame: held.append(number)):
            yield
    finally:
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def starting_processes() -> Iterator[None]:
    """Start processes that Ctrl-C never reaches, from their first moment: it arrives here.

    A process begins with the signals blocked that the thread has blocked which starts it. Where
    that is not possible, on Windows, processes have to ignore Ctrl-C themselves.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with interrupts_held():
        resource_tracker.ensure_running()  # to start it later would unblock them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def interrupts_remembered() -> Iterator[None]:
    """Remember that Ctrl-C was pressed: what it interrupts may swallow it, an import for instance.

    Whoever asks `interrupted`, or calls `check_interrupted` now and then, will know.
    """
    global _received
    _received = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        global _received
        _received = True
        signal.default_int_handler(number, frame)

    with _handling(interrupt):
        yield


def interrupted() -> bool:
    """Whether Ctrl-C was pressed since they are remembered."""
    return _received


def check_interrupted() -> None:
    """Raise the interrupt that was swallowed, if there was one.

    Raises
    ------
    KeyboardInterrupt
        If Ctrl-C was pressed.
    """
    if _received:
        raise KeyboardInterrupt
