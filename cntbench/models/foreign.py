"""Files and models that others wrote: every error they cause is reported as an error of the file.

Transformers changes functions of the whole process while it makes or loads a model, so one thread
at a time does either.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

from transformers.utils import logging

from cntbench.errors import CheckpointError, CntbenchError

#: Held while transformers makes or loads a model, which also draws initial weights from the random
#: numbers of the process.
transformers_lock = threading.RLock()
#: Longest explanation of a library in a message [characters].
_LONGEST = 300
#: Module of the panics of libraries written in Rust, which are not an `Exception`.
_PANICS = "pyo3_runtime"


@contextmanager
def foreign(problem: str, where: object) -> Iterator[None]:
    """Turn every error of a block into a `CheckpointError`; errors of cntbench pass unchanged.

    Libraries raise anything for a file that they do not expect: their own validation errors,
    `AttributeError`, `ZeroDivisionError`, `RecursionError`, `MemoryError`. ``problem`` says what is
    wrong with the file, such as ``is not a model config``.
    """
    try:
        yield
    except CntbenchError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != _PANICS:
            raise
        raise CheckpointError(f"{problem}: {explained(error)}", where=str(where)) from None


def explained(error: BaseException) -> str:
    """Return the message of an error in one line of limited length."""
    message = " ".join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        message = message or "there is not enough memory for it"
    elif isinstance(error, RecursionError):
        message = "it is nested too deeply"
    elif not message or isinstance(error, KeyError):
        message = f"{kind}: {message}" if message else kind
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]} …"


@contextmanager
def made() -> Iterator[None]:
    """Let transformers make a model, one thread at a time.

    Torch warns of the maps of attention-only models, which have no outputs to initialise.
    """
    with transformers_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        yield


@contextmanager
def silenced(*, stderr: bool = True) -> Iterator[None]:
    """Keep transformers from reporting what it loads; also what goes to ``stderr`` directly."""
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with redirect_stderr(StringIO() if stderr else sys.stderr):  # the bar of GGUF files
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
