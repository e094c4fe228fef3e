"""What others have written: whatever it causes is said of the file, and of no program."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cntbench.errors import CheckpointError, CntbenchError

#: Held while transformers makes or loads a model. It changes functions of the whole process in the
#: meantime, and draws initial weights from the process's random numbers.
transformers_lock = threading.RLock()
#: Longest explanation of a library that is passed on [characters].
_LONGEST = 300
#: Where libraries written in Rust have their panics, which are no `Exception`.
_PANICS = "pyo3_runtime"


@contextmanager
def foreign(problem: str, where: object) -> Iterator[None]:
    """Turn every error of a block into a `CheckpointError`.

    Libraries raise what they like of a file that they do not expect: validation errors of their
    own, `AttributeError`, `ZeroDivisionError`, `RecursionError`, `MemoryError`. What cntbench says
    itself is passed on.

    Parameters
    ----------
    problem
        What is wrong with the file, such as ``is not a model config``.
    where
        The file or folder.
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
    """Return what an error says, in one line that is not too long."""
    said = " ".join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, MemoryError):
        said = said or "there is not enough memory for it"
    elif isinstance(error, RecursionError):
        said = "it is nested too deeply"
    elif not said or isinstance(error, KeyError):
        said = f"{kind}: {said}" if said else kind
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"
