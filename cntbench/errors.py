"""What a user sees when something is wrong: what, where, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

#: Exit codes of the command line, as documented in the README.
EXIT_OK = 0
EXIT_MOVED = 1
EXIT_USER_ERROR = 2
EXIT_CHECKPOINTS_FAILED = 3
EXIT_INTERRUPTED = 130


#: User and password of an address, what a header of authorisation holds, a token of the hub.
_CREDENTIALS = re.compile(
    r"(?<=://)[^/?#\s]*@|(?<=\bBearer )[^\s'\"]+|\bhf_[A-Za-z0-9]{30,}", re.IGNORECASE
)


def without_credentials(text: str) -> str:
    """Return a text without passwords and tokens: what is printed or kept may be published.

    Examples
    --------
    >>> without_credentials("https://me:secret@hub.example/api answers 500")
    'https://hub.example/api answers 500'
    """
    return _CREDENTIALS.sub("", text)


class CntbenchError(Exception):
    """A user's mistake, or a fact about their files, said in a way that can be acted on.

    Parameters
    ----------
    what
        What is wrong, in one sentence.
    where
        The file, and the key in it, if there is one.
    hint
        What is allowed, or what to do next.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = without_credentials(what)
        self.where = where and without_credentials(where)
        self.hint = hint and without_credentials(hint)
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.hint))


def _rebuild(
    kind: type[CntbenchError], what: str, where: str | None, hint: str | None
) -> CntbenchError:
    return kind(what, where=where, hint=hint)


class SpecError(CntbenchError):
    """A spec file that cannot be read, or says something that is not allowed."""


class CheckpointError(CntbenchError):
    """A checkpoint that cannot be found, read or measured."""


class MissingCheckpointError(CheckpointError):
    """A checkpoint that its source does not have: a gap in the trajectory."""


class ParityError(CheckpointError):
    """A model that cntbench does not compute as the model itself does: no number would be right."""


class StorageError(CntbenchError):
    """A result file that is missing, damaged, or does not satisfy the schema."""


class CntbenchWarning(UserWarning):
    """What a user should know of what was done; the command line prints it in one line."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Say which of the allowed names was probably meant, and list them all.

    Examples
    --------
    >>> nearest("inducton", ["induction", "bigram"])
    "Did you mean 'induction'? Allowed: bigram, induction."
    """
    names = sorted(allowed)
    if not names:
        return "There is nothing to choose from."
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return f"{guess}Allowed: {', '.join(names)}."


def unknown(kind: str, name: str, allowed: Iterable[str], *, where: str | None = None) -> SpecError:
    """Return the error for a name that is not among the allowed ones."""
    return SpecError(f"unknown {kind} {name!r}", where=where, hint=nearest(name, allowed))


def distinct(kind: str, names: Sequence[str], *, where: str | None = None) -> Sequence[str]:
    """Return names of one kind, a `SpecError` if one stands twice.

    Examples
    --------
    >>> distinct("task", ["induction", "bigram"])
    ['induction', 'bigram']
    """
    for name in names:
        if names.count(name) > 1:
            raise SpecError(
                f"{kind} {name!r} stands twice", where=where, hint="Every name may stand once."
            )
    return names
