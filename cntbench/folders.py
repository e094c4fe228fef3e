"""Folders of specs: the shipped one, and those that the user's environment names."""

from __future__ import annotations

import os
from pathlib import Path

#: More folders of specs, separated as in PATH.
ENVIRONMENT_VARIABLE = "CNTBENCH_SPECS"


def shipped_folder() -> Path:
    """Return the folder of the shipped specs: inside the installed package, or in a checkout."""
    package = Path(__file__).parent
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def spec_folders() -> list[Path]:
    """Return the shipped folder, then those of the environment variable."""
    listed = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
    return [shipped_folder(), *(Path(part) for part in listed if part)]
