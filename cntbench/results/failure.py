"""Why a checkpoint could not be measured: the status and the reason that a result records."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from cntbench.errors import CntbenchError, MissingCheckpointError, without_credentials


@dataclass(frozen=True)
class Failure:
    """Why a checkpoint could not be measured.

    Parameters
    ----------
    status
        ``"missing"`` if its source does not have it, else ``"failed"``.
    reason
        One line, without the path of the checkpoint's files.
    """

    status: Literal["missing", "failed"]
    reason: str

    @classmethod
    def of(cls, error: BaseException, location: object) -> Failure:
        """Return the failure that an error means.

        Its reason leaves out the location: the checkpoint's origin, or the folder of its files.
        """
        status: Literal["missing", "failed"] = (
            "missing" if isinstance(error, MissingCheckpointError) else "failed"
        )
        if not isinstance(error, CntbenchError):
            return cls(status, _line(without_credentials(f"{type(error).__name__}: {error}")))
        where = _within(error.where, str(location))
        message = f"{where}: {error.what}" if where else error.what
        return cls(status, _line(f"{message}. {error.hint}" if error.hint else message))


class Mismatch(Failure):
    """cntbench and transformers compute a model differently: every number would be wrong."""


def _within(where: str | None, location: str) -> str | None:
    """Return ``where`` relative to a location, or None for the location itself."""
    return None if where == location else where and where.removeprefix(f"{location}{os.sep}")


def _line(text: str) -> str:
    return " ".join(text.split())
