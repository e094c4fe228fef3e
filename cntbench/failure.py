"""Why a checkpoint has no numbers, as it is recorded: a status and a reason in one line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cntbench.errors import CntbenchError, MissingCheckpointError


@dataclass(frozen=True)
class Failure:
    """What came in the way of a checkpoint.

    Parameters
    ----------
    status
        ``"missing"``: its source does not have it. ``"failed"``: anything else.
    reason
        In one line, without the place where the files happened to lie.
    """

    status: Literal["missing", "failed"]
    reason: str

    @classmethod
    def of(cls, error: BaseException, folder: Path | None = None) -> Failure:
        """Return what an error says.

        Parameters
        ----------
        error
            What was raised.
        folder
            Where the checkpoint's files lay.
        """
        status: Literal["missing", "failed"] = (
            "missing" if isinstance(error, MissingCheckpointError) else "failed"
        )
        if not isinstance(error, CntbenchError):
            return cls(status, _line(f"{type(error).__name__}: {error}"))
        where = _within(error.where, folder)
        said = f"{where}: {error.what}" if where else error.what
        return cls(status, _line(f"{said}. {error.hint}" if error.hint else said))


def _within(where: str | None, folder: Path | None) -> str | None:
    """Return a place relative to a folder, None for the folder itself."""
    if where is None or folder is None:
        return where
    if where == str(folder):
        return None
    return where.removeprefix(f"{folder}/")


def _line(text: str) -> str:
    return " ".join(text.split())
