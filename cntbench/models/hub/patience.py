"""How long the hub may send nothing before a request is given up.

huggingface_hub repeats a request that times out for up to six minutes. Here the time in which the
hub sends nothing counts over all repetitions; every byte, and every answer, starts it anew.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub.utils import get_session

from cntbench.errors import CntbenchError

#: Environment variable: how long to wait [s].
VARIABLE = "CNTBENCH_HUB_TIMEOUT"
DEFAULT = 60.0
#: The same limit for files that hf_xet downloads, which reads it when it is first used.
_XET = ("CONNECT_TIMEOUT", "READ_TIMEOUT", "RETRY_MAX_DURATION")

_thread = threading.local()


class SilentHubError(OSError):
    """The hub has sent nothing for as long as the user waits."""


class _Clock:
    """The time since the hub last sent something, while an answer is awaited."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: float | None = None

    @property
    def left(self) -> float:
        """How much longer to wait [s]."""
        return self.seconds - (time.monotonic() - self.since) if self.since else self.seconds

    def silent(self) -> SilentHubError:
        """Return the error of a hub that has sent nothing."""
        return SilentHubError(f"the hub has sent nothing for {self.seconds:g} s")


def patience() -> float:
    """Return how long the hub may send nothing [s].

    Raises a `CntbenchError` if the environment variable has another value than a positive number.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text or DEFAULT)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise CntbenchError(
            f"{text!r} is not a time",
            where=VARIABLE,
            hint=f"Allowed: a positive number of seconds; without it, {DEFAULT:g}.",
        )
    return seconds


@contextmanager
def patient() -> Iterator[None]:
    """Raise a `SilentHubError` in a request of this thread if the hub is silent for too long."""
    clock = _Clock(patience())
    for name in _XET:
        os.environ.setdefault(f"HF_XET_CLIENT_{name}", f"{math.ceil(clock.seconds)}s")
    hooks = get_session().event_hooks
    for kind, hook in (("request", _before), ("response", _after)):
        if hook not in hooks[kind]:
            hooks[kind].append(hook)
    _thread.clock = clock
    try:
        yield
    except Exception as error:
        if isinstance(error, SilentHubError) or clock.left > 0:
            raise
        raise clock.silent() from error
    finally:
        _thread.clock = None


def _clock() -> _Clock | None:
    return getattr(_thread, "clock", None)


def _before(request: Any) -> None:
    """Let a request wait no longer than there is patience left."""
    clock = _clock()
    if clock is None:
        return
    clock.since = clock.since or time.monotonic()
    if clock.left <= 0:
        raise clock.silent()
    limits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        kind: min(clock.left, math.inf if limits.get(kind) is None else limits[kind])
        for kind in ("connect", "read", "write", "pool")
    }


def _after(response: Any) -> None:
    """Note that the hub has answered, or listen to the body of its answer."""
    clock = _clock()
    if clock is None:
        return
    if response.request.method == "HEAD" or response.status_code >= 300:
        clock.since = None
        return
    response.stream = _heard(response, clock)


def _heard(response: Any, clock: _Clock) -> Any:
    """Return the body of an answer, each part of which shows that the hub is alive."""
    library = sys.modules[type(response).__module__.partition(".")[0]]
    stream = response.stream

    class Heard(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            for part in stream:
                clock.since = time.monotonic()
                yield part
            clock.since = None

        def close(self) -> None:
            stream.close()

    return Heard()
