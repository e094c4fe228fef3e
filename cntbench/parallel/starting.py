"""Ctrl-C while the command line imports its libraries: one sentence, as later, and no traceback.

Importing it is enough. Python ends by the signal afterwards, which shells report as 130.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


def _print(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Interrupted.\n")
    else:
        sys.__excepthook__(kind, error, at)


if Path((sys.argv or [""])[0]).stem == "cntbench" or sys.orig_argv[1:3] == ["-m", "cntbench"]:
    sys.excepthook = _print
