"""Why a checkpoint has no numbers, as it is recorded: a status and a reason in one line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from cntbench.errors import CntbenchError, MissingCheckpointError, without_credentials


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
    def of(cls, error: BaseException, place: object) -> Failure:
        """Return what an error says.

        Parameters
        ----------
        error
            What was raised.
        place
            The checkpoint's origin, or the folder of its files: it goes without saying.
        """
        status: Literal["missing", "failed"] = (
            "missing" if isinstance(error, MissingCheckpointError) else "failed"
        )
        if not isinstance(error, CntbenchError):
            return cls(status, _line(without_credentials(f"{type(error).__name__}: {error}")))
        where = _within(error.where, str(place))
        said = f"{where}: {error.what}" if where else error.what
        return cls(status, _line(f"{said}. {error.hint}" if error.hint else said))


class Mismatch(Failure):
    """That a model is not computed as it is: no number of the whole run would be right."""


def _within(where: str | None, place: str) -> str | None:
    """Return where relative to a place, None for the place itself."""
    return None if where == place else where and where.removeprefix(f"{place}{os.sep}")


def _line(text: str) -> str:
    return " ".join(text.split())
