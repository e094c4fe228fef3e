"""What may happen while the command line imports its libraries: one message, and no traceback.

Importing it is enough. After Ctrl-C Python ends by the signal, which shells report as 130. An
installed package whose entry points cannot be read stops pydantic, torch and xarray.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import TracebackType


def _print(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Interrupted.\n")
    elif package := _unreadable_package():
        sys.stderr.write(
            f"error: {package.locate_file('')}: the entry_points.txt of the installed package "
            f"{package.metadata['Name']} cannot be read: {error}\n"
            f"Reinstall or remove it: pip uninstall {package.metadata['Name']}\n"
        )
        sys.exit(2)
    else:
        sys.__excepthook__(kind, error, at)


def _unreadable_package() -> Distribution | None:
    for package in distributions():
        try:
            package.entry_points  # noqa: B018 - reads the file
        except Exception:  # whatever its parser raises
            return package
    return None


if Path((sys.argv or [""])[0]).stem == "cntbench" or sys.orig_argv[1:3] == ["-m", "cntbench"]:
    sys.excepthook = _print
