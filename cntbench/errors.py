"""Errors for users: what is wrong, where, what is allowed and what to do next."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: The folder of the package, with the separator at its end.
_PACKAGE = f"{Path(__file__).parent}{os.sep}"

#: Exit codes of the command line; docs/reference/commands.md explains them.
EXIT_OK = 0
EXIT_MOVED = 1
EXIT_USER_ERROR = 2
EXIT_CHECKPOINTS_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_READER_ENDED = 141
EXIT_DEFECT = 70

#: Control characters of terminals except tab and newline: C0, DEL, C1, and changes of the direction
#: of text. Unpaired surrogates cannot be encoded.
_CONTROL = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SHOWN_AS: dict[int, str | None] = {
    **{code: None for code in _CONTROL if chr(code) not in "\t\n"},
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}
#: Largest number of characters of a part of a message, and of a hint, which lists what is allowed;
#: largest number of lines.
_LONGEST, _LONGEST_HINT, _MOST_LINES = 600, 2000, 6

#: User and password in an address, the token in an authorisation header, a token of the hub.
_CREDENTIALS = re.compile(
    r"(?<=://)[^/?#\s]*@|(?<=\bBearer )[^\s'\"]+|\bhf_[A-Za-z0-9]{30,}", re.IGNORECASE
)


def without_credentials(text: str) -> str:
    """Return a text without passwords and tokens, which is safe to publish.

    Examples
    --------
    >>> without_credentials("https://me:secret@hub.example/api answers 500")
    'https://hub.example/api answers 500'
    """
    return _CREDENTIALS.sub("", text)


def printable(text: str) -> str:
    r"""Return text without control characters, which could forge a terminal's output.

    Examples
    --------
    >>> printable("step1\x1b[31m\r")
    'step1[31m'
    """
    return text if text.isprintable() else text.translate(_SHOWN_AS)


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Return text for a message: printable, with the middle of long text left out.

    Examples
    --------
    >>> len(shortened("unknown task " + 5000 * "x"))
    600
    """
    lines = printable(text).split("\n")
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], "…"]
    text = "\n".join(lines)
    if len(text) > longest:
        end = longest // 3
        text = f"{text[: longest - end - 3]} … {text[-end:]}"
    return text


class CntbenchError(Exception):
    """A mistake of a user or a problem with their files, in terms that they can act on.

    Parameters
    ----------
    what
        What is wrong, in one sentence.
    where
        The file and the key in it, if any.
    hint
        What is allowed, or what to do next.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = shortened(without_credentials(what))
        self.where = where and shortened(without_credentials(where))
        self.hint = hint and shortened(without_credentials(hint), _LONGEST_HINT)
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
    """A spec file that cannot be read or has a value that is not allowed."""


class PluginError(SpecError):
    """A Python file of a user's folder or of another package that cannot be used."""


class CheckpointError(CntbenchError):
    """A checkpoint that cannot be found, read or measured."""


class MissingCheckpointError(CheckpointError):
    """A checkpoint that its source does not have: a gap in the trajectory."""


class HubTimeoutError(CheckpointError):
    """A checkpoint whose hub does not answer in time; it may be available later."""


class ParityError(CheckpointError):
    """A model whose logits in cntbench differ from its own: results would be wrong."""


class StorageError(CntbenchError):
    """A result file that is missing, damaged, or violates the schema."""


def unmeasured(where: str | None = None) -> StorageError:
    """Return the error for a result without numbers."""
    return StorageError(
        "has no checkpoint that was measured",
        where=where,
        hint="cntbench audit says why. The command that made the result tries them again.",
    )


class CntbenchWarning(UserWarning):
    """A warning for users; the command line prints it in one line."""


class CntbenchNote(CntbenchWarning):
    """A note: something that users should know, although it is probably intended."""


def warn(text: str, kind: type[CntbenchWarning] = CntbenchWarning) -> None:
    """Warn users at the line of their code that called cntbench, however deep the problem is found.

    Python and notebooks print the line; the command line prints the text alone.
    """
    frame = caller = sys._getframe()
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(_PACKAGE):
            caller = frame.f_back
        frame = frame.f_back
    warnings.warn_explicit(
        text,
        kind,
        caller.f_code.co_filename,
        caller.f_lineno,
        module=str(caller.f_globals.get("__name__")),
        registry=caller.f_globals.setdefault("__warningregistry__", {}),
    )


def warning_text(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> tuple[str, str]:
    """Return how a warning is printed: its label and its text.

    Warnings of cntbench are labelled as a warning or a note, without their position in the code;
    the label of others is empty.
    """
    if issubclass(category, CntbenchWarning):
        return "note" if issubclass(category, CntbenchNote) else "warning", str(message)
    return "", warnings.formatwarning(message, category, filename, lineno, line)


#: Place of errors about arguments, where the name of the function is not known.
ARGUMENTS = "the arguments"
#: Places of errors that name neither a file nor a function.
_UNNAMED = re.compile(rf"the dataset|the result|{ARGUMENTS}|cntbench\.[a-z_]+$")


@contextmanager
def in_file(path: object) -> Iterator[None]:
    """Add the name of a file to errors about its content that do not name it."""
    try:
        yield
    except CntbenchError as error:
        key = _UNNAMED.match(error.where or "the result")
        if key is None:
            raise
        where = f"{path}{(error.where or '')[key.end() :]}"
        raise _rebuild(type(error), error.what, where, error.hint) from None


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Suggest the nearest of the allowed names, and list them all.

    Examples
    --------
    >>> nearest("inducton", ["induction", "bigram"])
    "Did you mean 'induction'? Allowed: bigram, induction."
    """
    names = sorted(allowed)
    if not names:
        return "Nothing is available."
    close = difflib.get_close_matches(name, names, n=1)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return f"{guess}Allowed: {', '.join(names)}."


class Named(dict[str, T]):
    """A mapping by name, with the errors of broken files, also by name."""

    def __init__(
        self, things: Mapping[str, T] | None = None, broken: Mapping[str, SpecError] | None = None
    ) -> None:
        super().__init__(things or {})
        self.broken = dict(broken or {})


def unknown(kind: str, name: str, allowed: Iterable[str], *, where: str | None = None) -> SpecError:
    """Return the error for a name that is not among the allowed ones.

    For a broken spec it is the spec's own error; for a name that is, or may be, that of a broken
    plug-in, a `PluginError` that says so.
    """
    broken = allowed.broken if isinstance(allowed, Named) else {}
    if name in broken and not isinstance(broken[name], PluginError):
        return broken[name]
    plugins = [error for error in broken.values() if isinstance(error, PluginError)]
    for error in [broken[name]] if name in broken else plugins:
        known = f"{kind} {name!r} cannot be used" if name in broken else f"unknown {kind} {name!r}"
        return PluginError(f"{known}: {error.where}: {error.what}", where=where, hint=error.hint)
    return SpecError(f"unknown {kind} {name!r}", where=where, hint=nearest(name, allowed))


#: Words of JSON, outside texts, and how Python writes them.
_JSON_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|null|true|false')
_PYTHON_WORDS = {"null": "None", "true": "True", "false": "False"}


def shown(value: object) -> str:
    """Return a value for a message; for anything but plain data, its type and shape.

    Examples
    --------
    >>> shown(["a", 1, None, object()])
    '["a", 1, None, "<object>"]'
    """
    words = as_json(value)
    return _JSON_WORD.sub(lambda word: _PYTHON_WORDS.get(word[0], word[0]), words)


def as_json(value: object) -> str:
    """Return a value of a file for a message, as `shown` does, with the words of JSON and TOML."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool | int | float | str | list | tuple | dict | None):
        with suppress(TypeError, ValueError):  # a key that is not text; a list that contains itself
            return json.dumps(value, default=_type_and_shape)
    return _type_and_shape(value)


def _type_and_shape(value: object) -> str:
    shape = getattr(value, "shape", None)
    sized = f" of shape {tuple(shape)}" if isinstance(shape, tuple) else ""
    return f"<{type(value).__name__}{sized}>"


def listed(names: Iterable[str], most: int | None = None) -> str:
    """Join names as a sentence does; after the first ``most``, say how many more there are.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], 2), listed(["a", "b", "c", "d"], 2)
    ('a, b and c', 'a, b and c', 'a, b and 2 more')
    """
    names = list(names)
    if most is not None and len(names) > most + 1:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def distinct(
    kind: str, names: Sequence[str], *, where: str | None = None, hint: str = ""
) -> Sequence[str]:
    """Return names of one kind, or raise a `SpecError` if one appears twice.

    Examples
    --------
    >>> distinct("task", ["induction", "bigram"])
    ['induction', 'bigram']
    """
    for name in names:
        if names.count(name) > 1:
            raise SpecError(
                f"{kind} {name!r} appears twice",
                where=where,
                hint=f"Every name may appear once. {hint}".rstrip(),
            )
    return names
